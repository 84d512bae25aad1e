"""The only writers of customers' sync rows, and of customers at Stripe once they are provisioned."""

from __future__ import annotations

from billing_worker.customers.services.following import (
    decide_difference,
    follow_customers,
    note_customer,
)
from billing_worker.customers.services.syncing import (
    Outcome,
    SyncResult,
    sync_account,
    sync_customers,
)

__all__ = [
    "Outcome",
    "SyncResult",
    "decide_difference",
    "follow_customers",
    "note_customer",
    "sync_account",
    "sync_customers",
]
