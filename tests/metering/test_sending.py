from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from billing_worker import gateway
from billing_worker.accounts.models import BillingLease
from billing_worker.accounts.states import Biller
from billing_worker.alerts.models import Alert
from metering.models import MeterEvent, SendingLane
from metering.services.sending import SenderOptions, SendResult, claims, drain_meter_events, send_batch
from metering.services.sending.claims import (
    claim_events,
    get_next_due_at,
    recover_abandoned,
    release_lanes,
)
from metering.services.sending.resolving import resolve_events
from metering.states import EventState
from tests.factories import AccountFactory, BillingLeaseFactory, ClockFactory, CustomerAccountFactory
from tests.metering.factories import LIVE, NOW, SHADOW, Clock, FakeStripe, MeterEventFactory, unavailable

pytestmark = pytest.mark.django_db
OPTIONS = SenderOptions(threads=4, patience=timedelta(minutes=30))


@pytest.fixture
def stripe():
    return FakeStripe()


@pytest.fixture
def account():
    account = CustomerAccountFactory.create(id=5001)
    BillingLeaseFactory.create(account=account)
    return account


def drain(stripe, *, clock=None, seam=LIVE, options=OPTIONS) -> SendResult:
    clock = clock or Clock()
    total = SendResult()
    for result in drain_meter_events(port=stripe, seam=seam, options=options, clock=clock, sleep=clock.sleep):
        total.reported += result.reported
        total.retried += result.retried
        total.rejected += result.rejected
        total.expired += result.expired
        total.skipped = result.skipped
        total.cause = result.cause
    return total


def states():
    return dict(MeterEvent.objects.values_list("identifier", "state"))


def rejected(code: str | None, status: int = 400) -> gateway.GatewayRejected:
    return gateway.GatewayRejected("refused", stripe_code=code, param=None, status=status)


def test_pending_events_are_told_once(account, stripe):
    MeterEventFactory.create(account=account)
    MeterEventFactory.create(account=account, meter="RM", value=7)

    assert drain(stripe).as_dict() == {"total": 2, "reported": 2, "skipped": 0, "failed": 0}
    assert drain(stripe).as_dict() == {"total": 0, "reported": 0, "skipped": 0, "failed": 0}

    call = stripe.events["5001:2026-10-05:RM"]
    assert (call.customer, call.event_name, call.value) == ("cus_5001", "impressions_rm", 7)
    assert call.at == datetime(2026, 10, 5, 12, tzinfo=UTC)
    event = MeterEvent.objects.get(meter="RM")
    assert (event.state, event.sent_at, event.attempts, event.claim_token) == ("sent", NOW, 1, "")
    assert not SendingLane.objects.filter(leased_until__isnull=False).exists()


def test_calls_on_one_meter_of_a_customer_never_overlap_and_go_oldest_first(account, stripe):
    other = CustomerAccountFactory.create(id=5002)
    BillingLeaseFactory.create(account=other)
    for day in range(1, 21):
        MeterEventFactory.create(account=account, bucket=f"2026-10-{day:02}")
        MeterEventFactory.create(account=other, bucket=f"2026-10-{day:02}")

    assert drain(stripe).reported == 40
    assert stripe.overlaps == 0
    mine = [identifier for identifier in stripe.calls if identifier.startswith("5001:")]
    assert mine == sorted(mine)


def test_batches_repeat_until_nothing_is_left(account, stripe):
    for day in range(1, 31):
        MeterEventFactory.create(account=account, bucket=f"2026-10-{day:02}")
    options = SenderOptions(batch=7)

    assert send_batch(port=stripe, seam=LIVE, options=options, clock=Clock()).reported == 7
    assert drain(stripe, options=options).reported == 23


def test_a_later_batch_arms_nothing_and_still_stops_what_is_not_billable(account, stripe):
    MeterEventFactory.create(account=account, state=EventState.SHADOW)
    MeterEventFactory.create(account=CustomerAccountFactory.create(id=5002))

    result = send_batch(port=stripe, seam=LIVE, options=SenderOptions(), clock=Clock(), is_first=False)

    assert result.reported == 0
    assert states() == {"5001:2026-10-05:ST": "shadow", "5002:2026-10-05:ST": "shadow"}
    assert drain(stripe).reported == 1


def test_an_event_that_is_committed_as_claimed_before_the_call(account, stripe):
    """Were the process to die in the call, the row would say that it may have happened."""
    MeterEventFactory.create(account=account)
    seen = []
    stripe.on_call = lambda call: seen.append(call.identifier)
    calls = claim_events(now=NOW, limit=10, token="t", lease=timedelta(minutes=2))

    assert [call.identifier for call in calls] == ["5001:2026-10-05:ST"]
    event = MeterEvent.objects.get()
    assert (event.state, event.claim_token, event.claimed_at) == ("sending", "t", NOW)
    # The lane is taken: nobody else gets at its events.
    assert claim_events(now=NOW, limit=10, token="u", lease=timedelta(minutes=2)) == []
    assert drain(stripe, options=SenderOptions()).reported == 0
    assert seen == []


@pytest.mark.parametrize(
    "failure",
    [unavailable(outcome_unknown=False), gateway.GatewayRateLimited("slow down"), rejected(None, 401)],
)
def test_a_call_that_did_not_happen_is_made_again_after_a_pause(account, stripe, failure):
    MeterEventFactory.create(account=account)
    stripe.faults["5001:2026-10-05:ST"] = [failure]
    clock = Clock()

    assert drain(stripe, clock=clock).reported == 1
    assert timedelta(seconds=0.5) <= clock.now - NOW < timedelta(seconds=5)
    event = MeterEvent.objects.get()
    assert (event.attempts, event.uncertain_at) == (2, None)


def test_a_lost_answer_is_found_in_the_summary_and_not_sent_again(account, stripe):
    MeterEventFactory.create(account=account)
    stripe.faults["5001:2026-10-05:ST"] = [("after", unavailable())]

    assert drain(stripe).reported == 1
    assert stripe.calls == ["5001:2026-10-05:ST"]
    assert MeterEvent.objects.get().reason == "found in Stripe's summary"


def test_a_lost_call_is_not_in_the_summary_and_is_sent_again_under_its_identifier(account, stripe):
    MeterEventFactory.create(account=account)
    stripe.faults["5001:2026-10-05:ST"] = [unavailable()]

    assert drain(stripe).reported == 1
    assert stripe.calls == ["5001:2026-10-05:ST"] * 2
    assert stripe.total == 100


def test_a_summary_that_lags_leads_to_a_repeat_that_stripe_refuses(account, stripe):
    MeterEventFactory.create(account=account)
    stripe.faults["5001:2026-10-05:ST"] = [("after", unavailable())]
    stripe.is_lagging = True

    assert drain(stripe).reported == 1
    assert stripe.total == 100
    assert MeterEvent.objects.get().reason == "Stripe already held it from an earlier attempt"


def test_an_outcome_still_unknown_after_a_day_is_left_to_a_person(account, stripe):
    MeterEventFactory.create(
        account=account,
        state=EventState.UNRESOLVED,
        uncertain_at=NOW - timedelta(hours=23, seconds=1),
        attempts=1,
    )
    MeterEventFactory.create(account=account, meter="RM", uncertain_at=NOW - timedelta(hours=24), attempts=1)

    assert drain(stripe).reported == 0
    assert stripe.calls == []
    assert set(states().values()) == {"unresolved"}
    assert Alert.objects.get().name == "meter_event_unknown"

    MeterEvent.objects.update(state=EventState.SENT, sent_at=NOW)
    drain(stripe)
    assert Alert.objects.get().status == "resolved", "the next one is told again"


def test_an_identifier_used_by_somebody_else_is_never_taken_for_ours(account, stripe):
    event = MeterEventFactory.create(account=account)
    stripe.faults[event.identifier] = [
        gateway.DuplicateMeterEvent("used", stripe_code=None, param="identifier", status=400)
    ]

    assert drain(stripe).as_dict()["reported"] == 0
    event.refresh_from_db()
    assert (event.state, event.reason) == ("rejected", "Stripe holds another event under this identifier")
    assert stripe.calls == [event.identifier]
    assert Alert.objects.get().name == "meter_event_rejected"


def test_an_identifier_that_stripe_holds_with_our_units_is_ours(account, stripe):
    """A database restored from before the call: the row forgot, Stripe did not."""
    event = MeterEventFactory.create(account=account)
    drain(stripe)
    MeterEvent.objects.update(state=EventState.PENDING, sent_at=None, attempts=0)

    assert drain(stripe).reported == 1
    assert stripe.total == 100
    event.refresh_from_db()
    assert event.state == "sent"


def test_a_refusal_is_told_to_people_and_blocks_nobody(account, stripe):
    MeterEventFactory.create(account=account, bucket="2026-10-05")
    MeterEventFactory.create(account=account, bucket="2026-10-06")
    stripe.faults["5001:2026-10-05:ST"] = [rejected("no_meter")]

    result = drain(stripe)

    assert (result.reported, result.rejected) == (1, 1)
    assert states() == {"5001:2026-10-05:ST": "rejected", "5001:2026-10-06:ST": "sent"}
    assert Alert.objects.get().name == "meter_event_rejected"


def test_events_past_35_days_expire_with_an_alert(account, stripe):
    MeterEventFactory.create(account=account, bucket="2026-09-28", period="2026-09")
    BillingLeaseFactory.create(account=account, period="2026-09")
    MeterEventFactory.create(account=account, bucket="2026-09-30", period="2026-09")

    result = drain(stripe)

    assert (result.reported, result.expired) == (1, 1)
    assert states() == {"5001:2026-09-28:ST": "expired", "5001:2026-09-30:ST": "sent"}
    assert Alert.objects.get().name == "meter_event_expired"


def test_a_month_armed_too_late_expires_in_portions(monkeypatch):
    """In one statement, a hundred thousand accounts' month was more than the database takes; and nobody's was sent."""
    monkeypatch.setattr(claims, "EXPIRED_AT_ONCE", 2)
    for number in (5002, 5003, 5004):
        old = CustomerAccountFactory.create(id=number)
        MeterEventFactory.create(account=old, bucket="2026-08-05", period="2026-08")

    with CaptureQueriesContext(connection) as asked:
        assert claims.expire_old(now=NOW) == 3

    marked = [query for query in asked if query["sql"].startswith("UPDATE") and "meterevent" in query["sql"]]
    assert len(marked) == 2
    assert set(states().values()) == {"expired"}
    assert Alert.objects.filter(name="meter_event_expired").count() == 3


def test_an_account_on_a_test_clock_lives_in_its_time(stripe):
    """Its customer's present decides what is too old and what lies ahead, not ours."""
    clock = ClockFactory.create(frozen_at=datetime(2026, 10, 31, 23, 30, tzinfo=UTC))
    account = CustomerAccountFactory.create(id=5001, test_clock=clock)
    BillingLeaseFactory.create(account=account)
    BillingLeaseFactory.create(account=account, period="2026-11")
    MeterEventFactory.create(account=account, bucket="2026-10-01")
    MeterEventFactory.create(account=account, bucket="2026-10-31")
    MeterEventFactory.create(account=account, bucket="2026-11-01", period="2026-11")
    far = Clock(datetime(2027, 3, 1, tzinfo=UTC))

    assert drain(stripe, clock=far).reported == 2
    assert states() == {
        "5001:2026-10-01:ST": "sent",
        "5001:2026-10-31:ST": "sent",
        "5001:2026-11-01:ST": "pending",
    }


def test_events_without_a_customer_are_counted_and_sent_once_one_appears(account, stripe):
    free = AccountFactory.create(id=5002)
    BillingLeaseFactory.create(account=free)
    MeterEventFactory.create(account=free, payer=None)
    MeterEventFactory.create(account=account)

    assert drain(stripe).as_dict() == {"total": 2, "reported": 1, "skipped": 1, "failed": 0}

    free.stripe_customer_id = "cus_new"
    free.save()
    assert drain(stripe).as_dict() == {"total": 1, "reported": 1, "skipped": 0, "failed": 0}
    assert stripe.events["5002:2026-10-05:ST"].customer == "cus_new"


def test_rows_without_a_customer_never_block_others(account, stripe):
    free = AccountFactory.create(id=5002)
    BillingLeaseFactory.create(account=free)
    for day in range(1, 11):
        MeterEventFactory.create(account=free, payer=None, bucket=f"2026-10-{day:02}")
    MeterEventFactory.create(account=account, bucket="2026-10-20")

    assert send_batch(port=stripe, seam=LIVE, options=SenderOptions(batch=5), clock=Clock()).reported == 1


def test_nothing_is_sent_in_shadow_and_shadow_is_left_in_any_order(account, stripe):
    MeterEventFactory.create(account=account)

    assert drain(stripe, seam=SHADOW).reported == 0
    assert states() == {"5001:2026-10-05:ST": "shadow"}
    assert drain(stripe, seam=LIVE).reported == 1


def test_a_lease_given_back_to_legacy_stops_what_stripe_can_not_have_counted(account, stripe):
    MeterEventFactory.create(account=account)
    MeterEventFactory.create(account=account, meter="RM", attempts=1, uncertain_at=NOW)
    MeterEventFactory.create(account=account, meter="CV", attempts=7)
    BillingLease.objects.update(biller=Biller.LEGACY)

    assert drain(stripe).reported == 1
    assert states() == {
        "5001:2026-10-05:ST": "shadow", "5001:2026-10-05:RM": "sent", "5001:2026-10-05:CV": "shadow"
    }  # fmt: skip


@pytest.mark.parametrize("stop", ["lease", "shadow"])
def test_what_stripe_refused_for_now_is_not_sent_once_billing_was_stopped(account, stripe, stop):
    MeterEventFactory.create(account=account)
    stripe.faults["5001:2026-10-05:ST"] = [gateway.GatewayRateLimited("slow down")]
    clock = Clock()
    drain(stripe, clock=clock, options=SenderOptions(threads=1))
    assert states() == {"5001:2026-10-05:ST": "pending"}

    if stop == "lease":
        BillingLease.objects.update(biller=Biller.LEGACY)
    assert drain(stripe, clock=clock, seam=SHADOW if stop == "shadow" else LIVE).reported == 0
    assert stripe.events == {}
    assert states() == {"5001:2026-10-05:ST": "shadow"}

    BillingLease.objects.update(biller=Biller.STRIPE)
    assert drain(stripe, clock=clock).reported == 1


def test_a_dead_senders_events_are_looked_up_after_its_lease(account, stripe):
    counted = MeterEventFactory.create(account=account, bucket="2026-10-05")
    lost = MeterEventFactory.create(account=account, bucket="2026-10-06")
    calls = claim_events(now=NOW, limit=10, token="dead", lease=timedelta(minutes=2))
    stripe.send(calls[0])
    clock = Clock(NOW + timedelta(minutes=1))

    assert send_batch(port=stripe, seam=LIVE, options=OPTIONS, clock=clock).reported == 0

    assert drain(stripe, clock=clock).reported == 2
    assert stripe.calls == [counted.identifier, lost.identifier]
    assert stripe.total == 200
    assert states() == {counted.identifier: "sent", lost.identifier: "sent"}


@pytest.mark.parametrize("is_given_back", [True, False])
def test_a_dead_senders_events_are_found_though_another_took_its_lane_meanwhile(
    account, stripe, is_given_back
):
    """The lease may end between another sender's look for dead ones and its claim of the same lane."""
    dead = MeterEventFactory.create(account=account)
    claim_events(now=NOW, limit=10, token="dead", lease=timedelta(minutes=2))
    MeterEventFactory.create(account=account, bucket="2026-10-06")
    clock = Clock()
    clock.sleep(121)
    claimed = claim_events(now=clock.now, limit=10, token="next", lease=timedelta(minutes=2))
    assert [call.identifier for call in claimed] == ["5001:2026-10-06:ST"]
    if is_given_back:
        release_lanes([claimed[0].lane_id], token="next")
        MeterEvent.objects.filter(claim_token="next").update(state=EventState.PENDING, claim_token="")

    assert get_next_due_at(clock.now) == clock.now
    assert recover_abandoned(now=clock.now) == 1
    dead.refresh_from_db()
    assert (dead.state, dead.uncertain_at, dead.claim_token) == ("unresolved", NOW, "")
    assert drain(stripe, clock=clock).reported == 2
    assert set(stripe.events) == {"5001:2026-10-05:ST", "5001:2026-10-06:ST"}


def test_a_sender_that_wakes_after_its_lease_settles_nothing(account, stripe):
    MeterEventFactory.create(account=account)
    from metering.services.sending.attempts import Outcome, OutcomeKind
    from metering.services.sending.settling import settle

    calls = claim_events(now=NOW, limit=10, token="late", lease=timedelta(minutes=2))
    clock = Clock(NOW + timedelta(minutes=3))
    drain(stripe, clock=clock)

    settle(
        [Outcome(calls[0], OutcomeKind.REJECTED, "late")],
        lane_ids=[calls[0].lane_id],
        token="late",
        now=clock.now,
    )

    assert states() == {"5001:2026-10-05:ST": "sent"}


def test_what_a_dead_sender_had_claimed_may_be_what_the_summary_holds(account, stripe):
    """Its lease ran out after the batch's look for such rows: its units must not prove another event's."""
    event = MeterEventFactory.create(
        account=account, state=EventState.UNRESOLVED, attempts=1, uncertain_at=NOW
    )
    claimed = MeterEventFactory.create(account=account, revision=1, first_revision=1)
    [call] = claim_events(now=NOW, limit=10, token="dead", lease=timedelta(minutes=2))
    stripe.send(call)
    later = NOW + timedelta(minutes=3)

    resolve_events(
        port=stripe, now=later, token="ours", lease=timedelta(minutes=2), limit=10, deadline=math.inf
    )

    event.refresh_from_db()
    assert (event.state, event.reason) == (EventState.PENDING, "not found in Stripe's summary")
    assert drain(stripe, clock=Clock(later)).reported == 2
    assert stripe.total == event.value + claimed.value


def test_a_look_that_took_longer_than_the_lease_proves_nothing(account, stripe):
    """While it took, another sender had the lane: what the look says is older than what that one did."""
    event = MeterEventFactory.create(
        account=account, state=EventState.UNRESOLVED, attempts=1, uncertain_at=NOW
    )
    read = stripe.get_total

    def read_slowly(**window):
        total = read(**window)
        SendingLane.objects.update(lease_token="another")
        return total

    stripe.get_total = read_slowly
    send_batch(port=stripe, seam=LIVE, options=OPTIONS, clock=Clock())

    assert states() == {event.identifier: "unresolved"}
    assert SendingLane.objects.get().lease_token == "another"


def test_a_stripe_that_is_down_is_not_hammered(account, stripe):
    for number in range(5002, 5042):
        other = CustomerAccountFactory.create(id=number)
        BillingLeaseFactory.create(account=other)
        event = MeterEventFactory.create(account=other)
        stripe.faults[event.identifier] = [unavailable(outcome_unknown=False)] * 50

    result = send_batch(port=stripe, seam=LIVE, options=SenderOptions(threads=2), clock=Clock())

    assert result.reported == 0
    assert result.cause == "Stripe did not answer"
    assert 10 <= len(stripe.calls) <= 12
    assert set(states().values()) == {"pending"}


def test_no_more_than_the_limit_is_sent_in_a_second(account, stripe):
    import time

    for day in range(1, 22):
        MeterEventFactory.create(account=account, bucket=f"2026-10-{day:02}")
    started = time.monotonic()
    send_batch(port=stripe, seam=LIVE, options=SenderOptions(per_second=Decimal(100)), clock=Clock())

    # 21 calls start at 0, 10, ... 200 ms.
    assert time.monotonic() - started >= 0.2


def test_what_was_attempted_can_never_change(account, stripe):
    """The database refuses it, whoever tries: Stripe was told, or may have been told, exactly this."""
    attempted = MeterEventFactory.create(account=account)
    waiting = MeterEventFactory.create(account=account, bucket="2026-10-06")
    other = MeterEventFactory.create(account=account, meter="RM", bucket="2026-10-06")
    claim_events(now=NOW, limit=1, token="t", lease=timedelta(minutes=2))
    row = MeterEvent.objects.filter(pk=attempted.pk)
    for change in (
        {"value": 101},
        {"identifier": "5001:2026-10-05:ST:9"},
        {"at": NOW},
        {"lane": other.lane},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            row.update(**change)
    row.update(state=EventState.PENDING, claim_token="", claimed_at=None)
    with pytest.raises(IntegrityError), transaction.atomic():
        row.update(value=101)
    assert MeterEvent.objects.filter(pk=waiting.pk).update(value=7) == 1, "not attempted yet"


def test_an_event_of_unknown_outcome_never_expires_into_a_true_up(account, stripe):
    """It may have been counted: only its age at Stripe keeps it from being repeated, and a person looks."""
    BillingLeaseFactory.create(account=account, period="2026-09")
    doubtful = MeterEventFactory.create(
        account=account,
        bucket="2026-09-28",
        period="2026-09",
        attempts=1,
        uncertain_at=NOW - timedelta(hours=1),
    )
    stripe.faults[doubtful.identifier] = [rejected("timestamp_too_far_in_past")] * 20
    clock = Clock()

    for hours in (0, 1, 1, 24):
        clock.sleep(hours * 3600)
        assert send_batch(port=stripe, seam=LIVE, options=OPTIONS, clock=clock).expired == 0
    assert stripe.calls == [doubtful.identifier] * 2

    assert states() == {doubtful.identifier: "unresolved"}
    assert Alert.objects.get().name == "meter_event_unknown"


def test_no_call_is_started_behind_the_lease_however_long_its_turn_takes(account, stripe):
    """A budget that others have spent for an hour: the events go back, and the lane is free again."""
    from metering.services.sending.budget import SharedBudget

    MeterEventFactory.create(account=account)
    SharedBudget(Decimal(1))(50)
    options = SenderOptions(per_second=Decimal(1), lease=timedelta(seconds=2), threads=1)

    result = send_batch(port=stripe, seam=LIVE, options=options, clock=Clock())

    assert (result.reported, stripe.calls) == (0, [])
    assert states() == {"5001:2026-10-05:ST": "pending"}
    assert not SendingLane.objects.filter(leased_until__isnull=False).exists()
