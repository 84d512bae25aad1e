"""Usage from POST to Stripe's meters, through the commands, against the stand-in for Stripe over HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from billing_worker import gateway
from billing_worker.catalog.keys import EVENT_NAMES
from billing_worker.catalog.models import CatalogMeter
from billing_worker.core.periods import Period
from metering.models import MeterEvent
from metering.tasks import roll_up_usage, send_meter_events
from tests.factories import AccountFactory, BillingLeaseFactory, ClockFactory, make_service_key

pytestmark = [pytest.mark.django_db, pytest.mark.journey]
OCTOBER = Period(2026, 10)
LAST_EVENING = datetime(2026, 10, 31, 23, 30, tzinfo=UTC)


@pytest.fixture
def stripe(sandbox_server, settings):
    """An empty stand-in for Stripe with our three meters."""
    sandbox_server.reset()
    settings.ENV = settings.ENV.model_copy(
        update={"STRIPE_API_BASE": sandbox_server.url, "SHADOW": False, "STRIPE_TIMEOUT_SECONDS": 2}
    )
    for usage_type, event_name in EVENT_NAMES.items():
        meter = gateway.create_meter(
            event_name=event_name, display_name=usage_type, idempotency_key=event_name
        )
        CatalogMeter.objects.create(usage_type=usage_type, event_name=event_name, stripe_meter_id=meter.id)
    return sandbox_server


@pytest.fixture
def accounts(stripe):
    """A parent and its child without a customer, and an account of its own, all on a clock at October's end."""
    clock = gateway.create_test_clock(frozen_at=LAST_EVENING, name="October")
    local = ClockFactory.create(stripe_test_clock_id=clock.id, frozen_at=LAST_EVENING)
    parent, other = (AccountFactory.create(id=number, test_clock=local) for number in (5001, 5003))
    for account in (parent, other):
        customer = gateway.create_customer(
            name=account.name, email=account.billing_email, address=None, metadata={}, test_clock=clock.id,
            idempotency_key=f"customer-{account.pk}",
        )  # fmt: skip
        account.stripe_customer_id = customer.id
        account.save()
    child = AccountFactory.create(id=5002, parent=parent)
    for account in (parent, child, other):
        BillingLeaseFactory.create(account=account)
    return parent, child, other


def post(*records: tuple[int, str, str, int], reason: str | None = None) -> dict[str, Any]:
    names = ("account_id", "period", "usage_type", "quantity")
    body = {
        "records": [
            dict(zip(names, r, strict=True)) | ({"reason": reason} if reason else {}) for r in records
        ]
    }
    client = Client(headers={"authorization": f"Api-Key {make_service_key()}"})
    answer = client.post("/usage", json.dumps(body), content_type="application/json")
    assert answer.status_code == 200
    counts: dict[str, Any] = answer.json()["counts"]
    return counts


def get_total(account, usage_type: str) -> int:
    meter = CatalogMeter.objects.get(usage_type=usage_type)
    summaries = gateway.list_meter_event_summaries(
        meter=meter.stripe_meter_id,
        customer=account.stripe_customer_id,
        start_at=OCTOBER.start_at,
        end_at=OCTOBER.end_at,
    )
    return sum(summary.value for summary in summaries)


def test_a_month_of_usage_reaches_the_meters_of_those_who_pay(accounts, capsys):
    parent, child, other = accounts
    days = [f"2026-10-{day:02}" for day in range(1, 32)]
    assert post(*((parent.pk, day, "ST", 100) for day in days)) == {"created": 31}
    assert post(*((child.pk, day, "ST", 10) for day in days)) == {"created": 31}
    assert post((other.pk, "2026-10", "CV", 7)) == {"created": 1}

    call_command("roll_up_usage", period=OCTOBER)
    call_command("send_meter_events", until_drained=True)

    assert "3 months, 63 records: 63 meter events" in capsys.readouterr().out
    assert (get_total(parent, "ST"), get_total(other, "CV"), get_total(other, "ST")) == (3410, 7, 0)

    assert post((child.pk, "2026-10-31", "ST", 4), reason="bots removed") == {"restated": 1}
    call_command("roll_up_usage")
    call_command("send_meter_events", until_drained=True)

    assert get_total(parent, "ST") == 3404
    assert "total 1, reported 1, skipped 0, failed 0" in capsys.readouterr().out
    assert set(MeterEvent.objects.values_list("state", flat=True)) == {"sent"}


@pytest.mark.parametrize(
    "kind",
    ["429", "500_before", "500_after", "409", "timeout_before", "timeout_after", "drop_before", "drop_after"],
)
def test_faults_change_no_total(accounts, stripe, kind, capsys):
    parent, _, other = accounts
    post(
        *((account.pk, f"2026-10-{day:02}", "ST", day) for account in (parent, other) for day in range(1, 6))
    )
    call_command("roll_up_usage")
    stripe.control(
        "POST",
        "/_sandbox/faults",
        {"kind": kind, "method": "POST", "path": "/v1/billing/meter_events", "times": 4, "seconds": 3},
    )

    call_command("send_meter_events", until_drained=True)

    assert (get_total(parent, "ST"), get_total(other, "ST")) == (15, 15)
    assert set(MeterEvent.objects.values_list("state", flat=True)) == {"sent"}


def test_an_unknown_customer_is_a_refusal_that_the_command_reports(accounts, capsys):
    _, _, other = accounts
    other.stripe_customer_id = "cus_gone"
    other.save()
    post((other.pk, "2026-10-05", "ST", 1))
    call_command("roll_up_usage")

    with pytest.raises(CommandError, match="not drained: 0 left to send, 1 rejected"):
        call_command("send_meter_events", until_drained=True)
    assert "cus_gone" in MeterEvent.objects.get().reason


def test_without_a_key_everything_is_computed_and_nothing_sent(accounts, settings, capsys):
    parent, _, _ = accounts
    post((parent.pk, "2026-10-05", "ST", 1))
    settings.ENV = settings.ENV.model_copy(update={"STRIPE_SECRET_KEY": None})
    call_command("roll_up_usage")
    call_command("send_meter_events")

    assert "total 1, reported 0, skipped 1, failed 0 (no Stripe key is configured)" in capsys.readouterr().out
    assert send_meter_events() == {"total": 1, "reported": 0, "skipped": 1, "failed": 0}
    assert MeterEvent.objects.get().state == "pending"


def test_the_tasks_do_the_same(accounts):
    parent, _, _ = accounts
    post((parent.pk, "2026-10-05", "ST", 5), (parent.pk, "2026-10-06", "RM", 6))

    assert roll_up_usage() == {"months": 1, "records": 2, "events": 2}
    assert send_meter_events() == {"total": 2, "reported": 2, "skipped": 0, "failed": 0}
    assert (get_total(parent, "ST"), get_total(parent, "RM")) == (5, 6)
