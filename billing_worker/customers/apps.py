from django.apps import AppConfig


class CustomersConfig(AppConfig):
    name = "billing_worker.customers"
    label = "customers"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from billing_worker.customers import receivers  # noqa: F401
