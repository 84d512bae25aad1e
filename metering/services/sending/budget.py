"""One limit for all senders of an installation, which is one Stripe account: a row that says until when it is spent.

Each sender reserves short slices of it under the row's lock, in the database's time, so that neither the number of
processes nor their clocks matter.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db import transaction

from billing_worker.database_clock import get_database_now
from metering.models import SendingBudget
from metering.services.sending.pacing import compute_interval

METER_EVENTS = "meter_events"
#: No honest queue of slices is longer. Beyond it the database's clock was set back.
_LONGEST_QUEUE = timedelta(minutes=2)


class SharedBudget:
    """The part of the budget that this process reserves next. Call it outside a transaction, in one thread."""

    def __init__(self, per_second: Decimal) -> None:
        self._interval = compute_interval(per_second)

    def __call__(self, events: int) -> float:
        """Reserve slots for so many events; seconds until the first of them."""
        length = timedelta(seconds=events * self._interval)
        with transaction.atomic():
            row = _lock()
            now = get_database_now()
            read_at = time.monotonic()
            start = row.spent_until
            if not now <= start <= now + _LONGEST_QUEUE + 64 * length:
                start = now
            SendingBudget.objects.filter(pk=row.pk).update(spent_until=start + length)
        return max(0.0, (start - now).total_seconds() - (time.monotonic() - read_at))


def _lock() -> SendingBudget:
    row = SendingBudget.objects.select_for_update().filter(name=METER_EVENTS).first()
    if row is None:
        SendingBudget.objects.bulk_create(
            [SendingBudget(name=METER_EVENTS, spent_until=datetime(2000, 1, 1, tzinfo=UTC))],
            ignore_conflicts=True,
        )
        row = SendingBudget.objects.select_for_update().get(name=METER_EVENTS)
    return row
