from django.apps import AppConfig


class AlertsConfig(AppConfig):
    name = "billing_worker.alerts"
    label = "alerts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from billing_worker.alerts.failed_tasks import watch_scheduled_tasks

        watch_scheduled_tasks()
