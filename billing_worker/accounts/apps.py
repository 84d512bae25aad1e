from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "billing_worker.accounts"
    label = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from billing_worker.accounts.roles import connect_roles
        from billing_worker.accounts.search import register_lower

        connect_roles()
        register_lower()
