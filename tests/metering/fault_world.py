"""A month of meter events in a database and at a sandbox, made and compared by processes of their own.

`python -m tests.metering.fault_world prepare|compare [accounts]`, with `DJANGO_SETTINGS_MODULE` naming
`tests.metering.process_settings`.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import django

KINDS = ("ST", "RM", "CV")
LAST_EVENING = datetime(2026, 10, 31, 23, 30, tzinfo=UTC)


def prepare(accounts: int) -> dict[str, Any]:
    """Meters, customers on test clocks, and 93 pending events for each account."""
    from billing_worker import gateway
    from billing_worker.catalog.models import CatalogMeter
    from metering.parsing import parse_record
    from metering.services.ingest import store_usage
    from metering.services.roll_up import roll_up_usage
    from metering.services.seam import Seam
    from tests.factories import BillingLeaseFactory, ClockFactory, CustomerAccountFactory
    from tests.metering.factories import NOW

    for kind in KINDS:
        name = f"impressions_{kind.lower()}"
        meter = gateway.create_meter(event_name=name, display_name=name, idempotency_key=name)
        CatalogMeter.objects.create(usage_type=kind, event_name=name, stripe_meter_id=meter.id)
    clock = local = None
    for number in range(accounts):
        if number % 3 == 0:
            clock = gateway.create_test_clock(frozen_at=LAST_EVENING, name=f"clock {number}")
            local = ClockFactory.create(stripe_test_clock_id=clock.id, frozen_at=LAST_EVENING)
        assert clock is not None
        customer = gateway.create_customer(
            name="Example", email="a@example.com", address=None, metadata={}, test_clock=clock.id,
            idempotency_key=f"customer-{number}",
        )  # fmt: skip
        account = CustomerAccountFactory.create(
            id=5001 + number, stripe_customer_id=customer.id, test_clock=local
        )
        BillingLeaseFactory.create(account=account)
        raw = [
            {
                "account_id": account.pk,
                "period": f"2026-10-{day:02}",
                "usage_type": kind,
                "quantity": number * 31 + day,
            }
            for day in range(1, 32)
            for kind in KINDS
        ]
        store_usage(records=[parse_record(r, today=NOW.date()) for r in raw], author="test", now=NOW)
    events = 0
    for result in roll_up_usage(now=NOW, grace=timedelta(hours=1), seam=Seam(shadow=False)):
        events = result.events
    return {"events": events}


def compare(_accounts: int) -> dict[str, Any]:
    """Every customer and meter at Stripe against the quantities in force here."""
    from django.db.models import Count, Sum

    from billing_worker import gateway
    from billing_worker.accounts.models import Account
    from billing_worker.catalog.models import CatalogMeter
    from metering.models import MeterEvent, UsageRecord

    differences, units = [], 0
    ours = {
        (account, kind): total
        for account, kind, total in UsageRecord.objects.order_by()
        .values_list("feed__account_id", "usage_type")
        .annotate(total=Sum("delta"))
    }
    for meter in CatalogMeter.objects.all():
        for account in Account.objects.all():
            held = 0
            for summary in gateway.list_meter_event_summaries(
                meter=meter.stripe_meter_id,
                customer=str(account.stripe_customer_id),
                start_at=datetime(2026, 10, 1, tzinfo=UTC),
                end_at=datetime(2026, 11, 1, tzinfo=UTC),
            ):
                held += summary.value
            wanted = ours[account.pk, meter.usage_type]
            units += held
            if held != wanted:
                differences.append([account.pk, meter.usage_type, held, wanted])
    states = MeterEvent.objects.order_by().values_list("state").annotate(count=Count("pk"))
    repeated = MeterEvent.objects.filter(attempts__gt=1).count()
    return {"differences": differences, "units": units, "states": dict(states), "repeated": repeated}


if __name__ == "__main__":
    django.setup()
    work = {"prepare": prepare, "compare": compare}[sys.argv[1]]
    print(json.dumps(work(int(sys.argv[2]) if len(sys.argv) > 2 else 0)))
