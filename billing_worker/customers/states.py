"""What a customer at Stripe can be, beside its account here."""

from __future__ import annotations

from enum import Enum
from typing import Final

from django.db.models import TextChoices


class SyncState(TextChoices):
    PENDING = "pending", "Not looked at yet"
    SYNCED = "synced", "In step"
    DIFFERS = "differs", "Changed at Stripe"
    REFUSED = "refused", "Refused by Stripe"
    FAILED = "failed", "Failed"


class Verdict(Enum):
    """What is to be done about one field. Only `WRITE` ever changes something at Stripe."""

    SAME = "in step"
    WRITE = "to be written"
    THEIRS = "changed at Stripe"
    KEPT = "left as Stripe has it"
    THEIRS_ALONE = "only at Stripe"
    REFUSED = "refused by Stripe"


#: Alerts, each about `account N`.
SYNC_FAILED: Final = "customer_sync_failed"
FIELD_REFUSED: Final = "customer_field_refused"
CHANGED_AT_STRIPE: Final = "customer_changed_at_stripe"
TAX_ID_UNVERIFIED: Final = "customer_tax_id_unverified"
