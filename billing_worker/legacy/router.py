"""Keep the old service's tables on their own database, and keep us from writing there."""

from __future__ import annotations

from typing import Any

from django.db.models import Model

from billing_worker.core.errors import BillingError


class LegacyIsReadOnly(BillingError):
    """Code tried to write to the old billing service's database. Nothing here may: it is someone else's."""

    code = "legacy_is_read_only"


class LegacyRouter:
    """Routes the `legacy` app's models to the `legacy` alias; refuses writes and migrations there."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        return "legacy" if model._meta.app_label == "legacy" else None

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        if model._meta.app_label == "legacy":
            raise LegacyIsReadOnly(
                f"{model.__name__} belongs to the old billing service and is only read from here"
            )
        return None

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        if db == "legacy" or app_label == "legacy":
            return False
        return None
