"""Meter events in batches, as the stream of API v2 takes them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from billing_worker import gateway
from metering.models import MeterEvent
from metering.services.decisions import reject_reported
from metering.services.sending import SenderOptions, SendResult, drain_meter_events
from metering.states import EventState
from tests.factories import BillingLeaseFactory, CustomerAccountFactory
from tests.metering.factories import LIVE, NOW, Clock, FakeStripe, MeterEventFactory, unavailable

pytestmark = pytest.mark.django_db
OPTIONS = SenderOptions(threads=4, patience=timedelta(minutes=30))


@pytest.fixture
def stripe():
    return FakeStripe(batch=100)


def make_events(accounts: int, days: int = 31) -> None:
    for number in range(accounts):
        account = CustomerAccountFactory.create(id=5001 + number)
        BillingLeaseFactory.create(account=account)
        for day in range(1, days + 1):
            MeterEventFactory.create(account=account, bucket=f"2026-10-{day:02}", value=number * 31 + day)


def drain(stripe) -> SendResult:
    clock, total = Clock(), SendResult()
    for result in drain_meter_events(port=stripe, seam=LIVE, options=OPTIONS, clock=clock, sleep=clock.sleep):
        total.reported += result.reported
        total.retried += result.retried
    return total


def list_states() -> set[str]:
    return set(MeterEvent.objects.values_list("state", flat=True))


def test_lanes_share_requests_and_none_is_in_two_at_once(stripe):
    make_events(7)
    assert drain(stripe).reported == 217
    assert sorted(stripe.requests) == [31, 93, 93]
    assert stripe.overlaps == 0
    assert stripe.total == sum(n * 31 + d for n in range(7) for d in range(1, 32))


def test_a_lane_longer_than_a_request_goes_in_several_one_after_the_other(stripe):
    make_events(1)
    stripe.batch = 10
    assert drain(stripe).reported == 31
    assert stripe.requests == [10, 10, 10, 1] or stripe.requests == [10, 10, 10]
    assert stripe.overlaps == 0


@pytest.mark.parametrize("is_counted", [True, False])
def test_an_unknown_outcome_of_a_request_is_one_of_each_event_and_looked_up(stripe, is_counted):
    make_events(2, days=5)
    error = unavailable()
    stripe.request_faults = [("after", error) if is_counted else error]
    result = drain(stripe)
    assert result.reported == 10
    assert list_states() == {EventState.SENT}
    assert stripe.total == sum(n * 31 + d for n in range(2) for d in range(1, 6))
    assert stripe.requests[0] == 10
    assert bool(stripe.calls or stripe.requests[1:]) is not is_counted


def test_a_request_that_is_refused_as_a_whole_is_made_event_by_event(stripe):
    make_events(1, days=3)
    bad = MeterEvent.objects.get(bucket="2026-10-02")
    refusal = gateway.GatewayRejected("bad", stripe_code="invalid", param=None, status=400)
    stripe.request_faults = [refusal]
    stripe.faults[bad.identifier] = [refusal]
    assert drain(stripe).reported == 2
    bad.refresh_from_db()
    assert bad.state == EventState.REJECTED
    assert stripe.total == 1 + 3


def test_a_report_that_comes_before_the_request_is_settled_is_not_lost(stripe):
    make_events(1, days=2)
    first = MeterEvent.objects.order_by("at")[0]

    MeterEvent.objects.filter(pk=first.pk).update(
        state=EventState.SENDING, claim_token="another", claimed_at=NOW
    )
    assert reject_reported(
        identifiers=[first.identifier], summary="no such customer", subject="mtr", told_at=NOW, now=NOW
    )
    drain(stripe)
    first.refresh_from_db()
    assert first.state == EventState.REJECTED
    assert first.identifier not in stripe.events


def test_a_refused_request_with_a_repeat_in_front_proves_nothing_of_the_rest(stripe):
    """Were the refusal read as "Stripe already held it" for all, two events would never be counted."""
    make_events(1, days=3)
    first = MeterEvent.objects.order_by("at")[0]
    MeterEvent.objects.filter(pk=first.pk).update(attempts=1, uncertain_at=NOW)
    duplicate = gateway.DuplicateMeterEvent("used", stripe_code=None, param="identifier", status=400)
    stripe.request_faults = [duplicate]
    assert drain(stripe).reported == 3
    assert stripe.total == 1 + 2 + 3


def test_a_request_holds_no_more_than_a_seconds_budget(stripe):
    make_events(1)
    options = SenderOptions(per_second=Decimal(30), patience=timedelta(0))
    for _ in drain_meter_events(port=stripe, seam=LIVE, options=options, clock=Clock()):
        pass
    assert stripe.requests == [30]
    assert stripe.calls == ["5001:2026-10-31:ST"]
