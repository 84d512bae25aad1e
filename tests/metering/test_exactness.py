"""Whatever the order, the repetitions, the crashes and the flips of flags: the same units are billed, once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from billing_worker.accounts.models import BillingLease
from billing_worker.accounts.states import Biller
from billing_worker.core.periods import Period
from metering.models import MeterEvent, SendingLane, UsageRecord
from metering.selectors import get_usage_totals
from metering.services.ingest import store_usage
from metering.services.roll_up import roll_up_usage
from metering.services.seam import Seam
from metering.services.sending import SenderOptions, drain_meter_events
from tests.factories import BillingLeaseFactory, CustomerAccountFactory
from tests.metering.factories import LIVE, NOW, SHADOW, Clock, FakeStripe, make_input, unavailable

OCTOBER = Period(2026, 10)
DAYS = ("2026-10-05", "2026-10-06", "2026-10-31")


class Crash(BaseException):
    """The process dies: nothing catches this."""


def make_account(number: int = 5001):
    account = CustomerAccountFactory.create(id=number)
    BillingLeaseFactory.create(account=account)
    return account


def store(*records) -> None:
    store_usage(records=records, author="test", now=NOW)


def roll_up(seam: Seam = LIVE) -> None:
    for _ in roll_up_usage(now=NOW, grace=timedelta(hours=1), seam=seam):
        pass


def send(stripe: FakeStripe, seam: Seam = LIVE, clock: Clock | None = None) -> None:
    clock = clock or Clock()
    options = SenderOptions(threads=2, patience=timedelta(minutes=30))
    for _ in drain_meter_events(port=stripe, seam=seam, options=options, clock=clock, sleep=clock.sleep):
        pass


@pytest.mark.django_db(transaction=True)
def test_a_roll_up_killed_at_any_statement_loses_and_doubles_nothing():
    make_account()
    for day in DAYS:
        store(*(make_input(5001, day, kind, 10) for kind in ("ST", "RM", "CV")))
    store(make_input(5001, DAYS[0], "ST", 4, "bots removed"))
    statements = _count_statements(roll_up)
    rolled_up = _snapshot()
    assert statements > 8

    for fatal in range(statements):
        MeterEvent.objects.all().delete()
        SendingLane.objects.all().delete()
        UsageRecord.objects.update(rolled_up_at=None)
        with connection.execute_wrapper(_Dying(fatal)), pytest.raises(Crash):
            roll_up()
        # All of the month or none of it.
        assert MeterEvent.objects.count() in (0, 9)
        roll_up()
        assert _snapshot() == rolled_up

    stripe = FakeStripe()
    send(stripe)
    assert stripe.total == 84


def _snapshot() -> tuple[list[tuple[str, int, str]], int]:
    events = list(MeterEvent.objects.order_by("identifier").values_list("identifier", "value", "state"))
    return events, UsageRecord.objects.filter(rolled_up_at__isnull=True).count()


class _Dying:
    """Lets `fatal` statements pass and dies at the next."""

    def __init__(self, fatal: int) -> None:
        self.left = fatal

    def __call__(self, execute, sql, params, many, context):
        if self.left == 0:
            raise Crash(sql)
        self.left -= 1
        return execute(sql, params, many, context)


def _count_statements(work) -> int:
    seen: list[str] = []

    def note(execute, sql, params, many, context):
        seen.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        work()
    return len(seen)


#: What may happen, in any order and any number: statements, repeats, runs, flips of the two switches, broken calls.
STEPS = st.one_of(
    st.tuples(st.just("state"), st.sampled_from(DAYS), st.sampled_from(("ST", "RM")), st.integers(0, 5)),
    st.tuples(st.just("repeat")),
    st.tuples(st.just("roll_up")),
    st.tuples(st.just("send"), st.sampled_from(("", "before", "after"))),
    st.tuples(st.just("shadow"), st.booleans()),
    st.tuples(st.just("lease"), st.sampled_from(Biller.values)),
)


class AnyOrderTest(TestCase):
    @pytest.mark.sqlite_only
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(STEPS, max_size=25))
    def test_any_story_bills_what_was_last_stated(self, steps):
        make_account()
        stripe, clock, seam = FakeStripe(), Clock(), LIVE
        stated: dict[tuple[str, str], int] = {}
        last = None
        for step in steps:
            match step:
                case ("state", day, kind, quantity):
                    last = make_input(5001, day, kind, quantity, "restated")
                    store(last)
                    stated[day, kind] = quantity
                case ("repeat",) if last is not None:
                    store(last, last)
                case ("roll_up",):
                    roll_up(seam)
                case ("send", fault):
                    _break_next(stripe, fault)
                    send(stripe, seam, clock)
                case ("shadow", is_on):
                    seam = SHADOW if is_on else LIVE
                case ("lease", biller):
                    BillingLease.objects.update(biller=biller)

        BillingLease.objects.update(biller=Biller.STRIPE)
        roll_up(LIVE)
        send(stripe, LIVE, clock)

        for kind in ("ST", "RM"):
            wanted = sum(quantity for (_, other), quantity in stated.items() if other == kind)
            name = f"impressions_{kind.lower()}"
            assert sum(c.value for c in stripe.events.values() if c.event_name == name) == wanted
            assert get_usage_totals(5001, OCTOBER)[kind] == wanted  # type: ignore[index]
        assert set(MeterEvent.objects.values_list("state", flat=True)) <= {"sent"}


def _break_next(stripe: FakeStripe, fault: str) -> None:
    """The next call of the oldest pending event ends without an answer, before or after its effect."""
    event = MeterEvent.objects.filter(state="pending").order_by("at", "pk").first()
    if fault and event is not None:
        stripe.faults[event.identifier] = [unavailable() if fault == "before" else ("after", unavailable())]
