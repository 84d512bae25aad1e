"""Stripe's totals against what was sent: what the stream drops without a word does not stay unseen."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command

from billing_worker.alerts.models import Alert
from billing_worker.core.periods import Period
from metering import tasks
from metering.models import MeterEvent
from metering.services.sending import EventCall, SenderOptions, send_batch
from metering.services.totals import compare_totals, list_month, list_recent_days
from metering.states import EventState
from tests.factories import BillingLeaseFactory, CustomerAccountFactory
from tests.metering.factories import LIVE, NOW, Clock, FakeStripe, MeterEventFactory, unavailable

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(hours=2)


@pytest.fixture
def stripe():
    """A stream that has taken three events, of which one is dropped: another program used its identifier."""
    account = CustomerAccountFactory.create(id=5001)
    BillingLeaseFactory.create(account=account)
    for day in (5, 6, 7):
        MeterEventFactory.create(account=account, bucket=f"2026-10-{day:02}")
    stripe = FakeStripe(batch=100)
    theirs = EventCall(
        pk=0, lane_id=0, identifier="5001:2026-10-06:ST", event_name="impressions_st", customer="cus_9",
        value=1, at=NOW, attempts=0, is_repeat=False,
    )  # fmt: skip
    stripe.events[theirs.identifier] = theirs
    send_batch(port=stripe, seam=LIVE, options=SenderOptions(), clock=Clock())
    assert set(MeterEvent.objects.values_list("state", flat=True)) == {"sent"}
    return stripe


def compare(stripe, now=LATER, **places):
    found = compare_totals(list_recent_days(now=now, **places), port=stripe, now=now)
    return [(f"{each.stretch.start_at:%m-%d}", each.ours, each.theirs) for each in found]


def test_an_identifier_that_somebody_else_used_is_found(stripe):
    assert compare(stripe) == [("10-05", 100, 100), ("10-06", 100, 0), ("10-07", 100, 100)]
    alert = Alert.objects.get()
    assert (alert.name, alert.subject) == ("meter_total_differs", "cus_5001 impressions_st 2026-10-06")
    assert "100 are missing there" in alert.detail

    MeterEvent.objects.filter(bucket="2026-10-06").update(state=EventState.REJECTED, reason="dropped")
    assert ("10-06", 0, 0) not in compare(stripe), "nothing of that day is called sent any more"
    month = compare_totals(list_month(Period(2026, 10)), port=stripe, now=LATER)
    assert [(each.ours, each.theirs) for each in month] == [(200, 200)]


def test_a_total_that_agrees_again_resolves_its_alert(stripe):
    compare(stripe)
    foreign = stripe.events.pop("5001:2026-10-06:ST")
    ours = stripe.events["5001:2026-10-05:ST"]
    stripe.events["repaired"] = type(ours)(
        **{name: getattr(ours, name) for name in ours.__slots__} | {"at": ours.at + timedelta(days=1)}
    )
    assert foreign is not None
    compare(stripe)
    assert Alert.objects.get().status == "resolved"


def test_what_is_not_settled_or_too_fresh_is_left_out(stripe):
    assert compare(stripe, now=NOW + timedelta(minutes=59)) == []
    event = MeterEvent.objects.get(bucket="2026-10-05")
    MeterEventFactory.create(
        account=event.account, bucket="2026-10-05", revision=1, first_revision=1, state=EventState.UNRESOLVED
    )
    assert [day for day, *_ in compare(stripe)] == ["10-06", "10-07"]
    assert compare(stripe, now=NOW + timedelta(hours=50)) == []


def test_what_changes_while_stripe_is_asked_proves_nothing(stripe):
    read = stripe.get_total

    def read_slowly(**window):
        if window["start_at"].day == 6:
            MeterEvent.objects.filter(bucket="2026-10-06").update(state=EventState.REJECTED, reason="told")
        return read(**window)

    stripe.get_total = read_slowly
    assert [day for day, *_ in compare(stripe)] == ["10-05", "10-07"]
    assert not Alert.objects.exists()


def test_a_place_to_go_on_from(stripe):
    lane = MeterEvent.objects.all()[0].lane_id
    assert [day for day, *_ in compare(stripe, after=(lane, "2026-10-05"))] == ["10-06", "10-07"]


def test_the_task_goes_on_in_another_one(stripe, monkeypatch):
    kicked: list[Any] = []
    monkeypatch.setattr(tasks, "get_port", lambda: stripe)
    monkeypatch.setattr(tasks, "send_kick", lambda *task: kicked.append(task))
    monkeypatch.setattr(tasks, "CHECK_SECONDS", 0)
    with time_machine.travel(LATER, tick=False):
        assert tasks.check_meter_totals() == {"compared": 1, "differ": 0}
        name, *place = kicked.pop()
        assert tasks.check_meter_totals(*place) == {"compared": 1, "differ": 1}
        assert tasks.check_meter_totals(*kicked.pop()[1:]) == {"compared": 1, "differ": 0}
    assert (name, kicked) == ("metering.check_meter_totals", [])


def test_the_command_names_what_differs(stripe, monkeypatch):
    monkeypatch.setattr("metering.management.commands.check_meter_totals.get_port", lambda: stripe)
    out = io.StringIO()
    with time_machine.travel(LATER, tick=False):
        with pytest.raises(CommandError, match="1 totals differ") as refused:
            call_command("check_meter_totals", stdout=out)
        assert refused.value.returncode == 1
        assert "cus_5001 impressions_st 2026-10-06: 0 at Stripe, 100 sent" in out.getvalue()
        stripe.get_total = lambda **_: (_ for _ in ()).throw(unavailable())
        with pytest.raises(CommandError, match="could not be read"):
            call_command("check_meter_totals", "--period", "2026-10", stdout=out)
