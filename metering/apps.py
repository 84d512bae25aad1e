from django.apps import AppConfig


class MeteringConfig(AppConfig):
    name = "metering"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from metering import receivers  # noqa: F401
        from metering.draft_window import receivers as _draft_receivers  # noqa: F401
        from metering.samples import quantities  # noqa: F401
        from metering.true_ups import receivers as _true_up_receivers  # noqa: F401
