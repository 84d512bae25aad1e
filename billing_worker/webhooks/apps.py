from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "billing_worker.webhooks"
    label = "webhooks"
    default_auto_field = "django.db.models.BigAutoField"
