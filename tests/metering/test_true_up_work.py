"""An approved true-up becomes one object at Stripe, whatever Stripe answers and whoever dies."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from billing_worker import gateway
from billing_worker.alerts.models import Alert
from metering.models import TrueUp
from metering.true_ups.deciding import approve_true_up, reject_true_up
from metering.true_ups.working import CLAIM_EXPIRES_AFTER, work_true_up, work_true_ups
from tests.factories import AccountFactory, BillingLeaseFactory
from tests.metering.true_up_world import NOW, bill, make_payer, propose, tell

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(hours=2)


class FakeStripe:
    """Invoice items at Stripe. `faults` are raised in turn, before or after the effect."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.calls: list[dict[str, Any]] = []
        self.faults: list[tuple[str, BaseException]] = []
        self.looks = 0
        self.interrupt: Callable[[], None] = lambda: None

    def create_invoice_item(self, **values: Any) -> Any:
        self.calls.append(values)
        place, fault = self.faults.pop(0) if self.faults else ("", None)
        if fault is not None and place == "before":
            raise fault
        item = SimpleNamespace(id=f"ii_{len(self.items)}", metadata=values["metadata"])
        self.items.append(item)
        self.interrupt()
        if fault is not None:
            raise fault
        return item

    def list_invoice_items(self, *, customer: str) -> Any:
        self.looks += 1
        return iter(self.items)


def sweep(now: datetime) -> dict[str, int]:
    return work_true_ups(clock=lambda: now)


@pytest.fixture
def stripe(monkeypatch) -> FakeStripe:
    fake = FakeStripe()
    for name in ("create_invoice_item", "list_invoice_items"):
        monkeypatch.setattr(gateway, name, getattr(fake, name))
    return fake


@pytest.fixture
def true_up() -> TrueUp:
    """1,200 late units at 0.2 cents, approved."""
    payer = make_payer(id=5001)
    bill(payer, units=250_000)
    tell(payer, 1_200)
    (proposed,) = propose()
    return approve_true_up(true_up_id=proposed.pk, actor="ann", reason="agreed", now=NOW)


def test_the_item_says_what_it_is(stripe, true_up):
    assert work_true_up(true_up_id=true_up.pk, now=NOW) == "settled"
    (call,) = stripe.calls
    assert call == {
        "customer": "cus_5001",
        "amount_minor": 240,
        "currency": "usd",
        "description": "October 2026: 1,200 ST impressions reported late (account 5001)",
        "period_start": true_up.period_start,
        "period_end": true_up.period_end,
        "metadata": {
            "true_up": true_up.reference,
            "kind": "ST",
            "meter": "ST",
            "account_id": "5001",
            "period": "2026-10",
            "units": "1200",
            "tiers": "0.2:1200:240",
        },
        "idempotency_key": f"true-up-{true_up.reference}-1",
    }
    true_up.refresh_from_db()
    assert (true_up.stripe_object_id, true_up.settled_at, stripe.looks) == ("ii_0", NOW, 0)
    assert sweep(LATER) == {}
    assert work_true_up(true_up_id=true_up.pk, now=LATER) == "settled"
    assert len(stripe.calls) == 1


@pytest.mark.parametrize("place", ["before", "after"])
def test_an_answer_that_never_came_is_looked_for_before_it_is_asked_again(stripe, true_up, place):
    stripe.faults = [(place, gateway.GatewayUnavailable("no answer", outcome_unknown=True))]
    assert work_true_up(true_up_id=true_up.pk, now=NOW) == "approved"
    assert sweep(NOW) == {}, "not before its pause is over"
    assert sweep(LATER) == {"settled": 1}
    assert (len(stripe.items), stripe.looks) == (1, 1)
    assert len(stripe.calls) == (2 if place == "before" else 1)
    assert len({call["idempotency_key"] for call in stripe.calls}) == 1


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_worker_that_dies_in_the_call_is_followed_by_one_that_looks(stripe, true_up, place):
    stripe.faults = [(place, KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        work_true_up(true_up_id=true_up.pk, now=NOW)
    assert work_true_up(true_up_id=true_up.pk, now=NOW + CLAIM_EXPIRES_AFTER / 2) == "calling"
    assert sweep(NOW + CLAIM_EXPIRES_AFTER) == {"settled": 1}
    assert len(stripe.items) == 1


def test_a_slow_worker_does_not_write_over_the_one_that_took_over(stripe, true_up):
    def take_over() -> None:
        stripe.interrupt = lambda: None
        assert sweep(NOW + CLAIM_EXPIRES_AFTER) == {"settled": 1}

    stripe.interrupt = take_over
    work_true_up(true_up_id=true_up.pk, now=NOW)
    true_up.refresh_from_db()
    assert (len(stripe.items), true_up.settled_at) == (1, NOW + CLAIM_EXPIRES_AFTER)


def test_a_claim_is_as_old_as_it_is_and_not_as_old_as_the_sweep(stripe):
    """Slow calls before it must not make a claim look abandoned to the next sweep."""
    payer = make_payer(id=5001)
    bill(payer, units=250_000)
    child = AccountFactory.create(id=5002, parent=payer)
    BillingLeaseFactory.create(account=child)
    for account in (payer, child):
        tell(account, 1_200)
    for proposed in propose():
        approve_true_up(true_up_id=proposed.pk, actor="ann", reason="agreed", now=NOW)
    moments = iter([NOW, NOW, NOW + CLAIM_EXPIRES_AFTER])
    claimed = []
    stripe.interrupt = lambda: claimed.append(TrueUp.objects.get(state="calling").claimed_at)

    assert work_true_ups(clock=lambda: next(moments)) == {"settled": 2}
    assert claimed == [NOW, NOW + CLAIM_EXPIRES_AFTER]


def test_what_stripe_refuses_goes_back_to_a_person(stripe, true_up):
    refused = gateway.GatewayRejected(
        "no such customer", stripe_code="resource_missing", param="customer", status=400
    )
    stripe.faults = [("before", refused)]
    assert work_true_up(true_up_id=true_up.pk, now=NOW) == "refused"
    alert = Alert.objects.get(name="true_up_failed")
    assert "approve it again, or reject it" in alert.detail
    approve_true_up(true_up_id=true_up.pk, actor="ann", reason="customer is back", now=LATER)
    assert work_true_up(true_up_id=true_up.pk, now=LATER) == "settled"
    # Stripe answers the same key with the same refusal for a day.
    assert [call["idempotency_key"][-2:] for call in stripe.calls] == ["-1", "-2"]
    alert.refresh_from_db()
    assert alert.status == "resolved"


def test_a_refused_one_can_be_rejected(stripe, true_up):
    stripe.faults = [("before", gateway.GatewayRejected("no", stripe_code=None, param=None, status=400))]
    work_true_up(true_up_id=true_up.pk, now=NOW)
    assert reject_true_up(true_up_id=true_up.pk, actor="ann", reason="gone", now=LATER).state == "rejected"
    assert sweep(LATER + timedelta(days=1)) == {}


def test_a_person_hears_of_tries_that_lead_nowhere(stripe, true_up):
    stripe.faults = [("before", gateway.GatewayRateLimited("slow down"))] * 3
    for tries in range(3):
        assert sweep(NOW + tries * timedelta(hours=2)) == {"approved": 1}
    assert "in 3 tries" in Alert.objects.get(name="true_up_failed").detail
    assert sweep(NOW + timedelta(hours=9)) == {"settled": 1}


def test_nothing_is_made_of_what_nobody_approved(stripe):
    payer = make_payer()
    bill(payer)
    tell(payer, 1_000)
    (proposed,) = propose()
    assert work_true_up(true_up_id=proposed.pk, now=NOW) == "proposed"
    assert sweep(LATER) == {}
    assert stripe.calls == []
