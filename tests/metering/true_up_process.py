"""Approved true-ups in a database and at a sandbox: made, carried out and counted by processes of their own.

`python -m tests.metering.true_up_process prepare|work`, with `DJANGO_SETTINGS_MODULE` naming
`tests.metering.process_settings`.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import django

CUSTOMERS = 6
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


def prepare() -> dict[str, Any]:
    """For each customer a finalized invoice over 50.00, 1.00 to bill and 2.00 to credit, both approved."""
    from billing_worker import gateway
    from billing_worker.gateway.transport import call
    from metering.models import TrueUp
    from tests.factories import CustomerAccountFactory

    for number in range(CUSTOMERS):
        customer = gateway.create_customer(
            name="Example", email="a@example.com", address=None, metadata={}, test_clock=None,
            idempotency_key=f"customer-{number}",
        )  # fmt: skip
        account = CustomerAccountFactory.create(id=5001 + number, stripe_customer_id=customer.id)
        terms = {"collection_method": "send_invoice", "days_until_due": 30}
        draft = call("post", "/v1/invoices", {"customer": customer.id, **terms})
        gateway.create_invoice_item(
            customer=customer.id, invoice=draft["id"], amount_minor=5_000, currency="usd", description="October",
            period_start=OCTOBER, period_end=NOVEMBER, metadata={}, idempotency_key=f"item-{number}",
        )  # fmt: skip
        invoice = gateway.finalize_invoice(draft["id"])
        shared: dict[str, Any] = {
            "account": account,
            "payer": account,
            "meter": "ST",
            "period": "2026-10",
            "period_start": OCTOBER,
            "period_end": NOVEMBER,
            "units_before": 0,
            "currency": "usd",
            "state": "approved",
            "proposed_at": NOVEMBER,
            "decided_at": NOVEMBER,
            "decided_by": "ann",
            "decision_reason": "agreed",
            "approvals": 1,
        }
        TrueUp.objects.create(units=500, amount_minor=100, **shared)
        TrueUp.objects.create(
            units=-1_000,
            amount_minor=-200,
            credited_invoice_id=invoice.id,
            credit_lines=[{"invoice_line": invoice.lines[0].id, "amount_minor": 200, "units": 1_000}],
            **shared,
        )
    return {"true_ups": TrueUp.objects.count()}


def work() -> dict[str, Any]:
    """What the worker's task does every five minutes, without its pauses, until nothing is open; then counts."""
    from django.utils import timezone

    from metering.models import TrueUp
    from metering.true_ups import working
    from metering.true_ups.states import OPEN_STATES

    working._PAUSES = (timedelta(seconds=1),)  # type: ignore[misc]
    while TrueUp.objects.filter(state__in=OPEN_STATES).exists():
        working.work_true_ups(clock=timezone.now, claim_expires_after=timedelta(seconds=8))
        time.sleep(0.1)
    return compare()


def compare() -> dict[str, Any]:
    """How many objects each true-up has at Stripe, and whether it knows them."""
    from billing_worker import gateway
    from metering.models import TrueUp

    found: Counter[str] = Counter()
    ids: dict[str, str] = {}
    for true_up in TrueUp.objects.filter(amount_minor__gt=0).select_related("payer"):
        for item in gateway.list_invoice_items(customer=str(true_up.payer.stripe_customer_id)):
            if "true_up" in item.metadata:
                found[item.metadata["true_up"]] += 1
                ids[item.metadata["true_up"]] = item.id
    for true_up in TrueUp.objects.filter(amount_minor__lt=0):
        for note in gateway.list_credit_notes(true_up.credited_invoice_id):
            found[note.metadata["true_up"]] += 1
            ids[note.metadata["true_up"]] = note.id
    return {
        "objects": sorted(found.values()),
        "unknown": [
            true_up.pk
            for true_up in TrueUp.objects.all()
            if ids.get(true_up.reference) != true_up.stripe_object_id
        ],
        "states": dict(Counter(TrueUp.objects.values_list("state", flat=True))),
        "looked_for": TrueUp.objects.filter(attempts__gt=1).count(),
    }


if __name__ == "__main__":
    django.setup()
    print(json.dumps({"prepare": prepare, "work": work}[sys.argv[1]]()))
