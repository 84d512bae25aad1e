"""The drain: what keeps it from being proven, what waiting helps, and what the proof says."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from billing_worker.accounts.models import AuditEntry
from billing_worker.core.errors import InvalidInput
from billing_worker.webhooks.models import InboxEvent
from metering.models import MeterEvent, UsagePull
from metering.services.cutover import NotDrained, get_drain_state, record_drain, watch_drain
from metering.services.ingest import store_usage
from metering.services.roll_up import roll_up_usage
from metering.services.seam import Seam
from metering.states import OPEN_STATES, EventState
from tests.factories import BillingLeaseFactory, CustomerAccountFactory
from tests.metering.factories import LIVE, NOW, SHADOW, Clock, MeterEventFactory, make_input

pytestmark = pytest.mark.django_db
UNTIL = datetime(2026, 10, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
EXTRA = {
    "sent": {"sent_at": NOW},
    "sending": {"claim_token": "t", "claimed_at": NOW},
    "rejected": {"reason": "no"},
    "expired": {"reason": "old"},
    "skipped": {"reason": "given up"},
}


@pytest.fixture
def account():
    account = CustomerAccountFactory.create(id=5001)
    BillingLeaseFactory.create(account=account)
    return account


def look(until: datetime = UNTIL, *, seam: Seam = LIVE, now: datetime = NOW):
    return get_drain_state(until=until, seam=seam, grace=HOUR, now=now)


def add_event(account, state: str, *, bucket: str = "2026-10-05", **values) -> MeterEvent:
    return MeterEventFactory.create(
        account=account, bucket=bucket, state=state, **EXTRA.get(state, {}), **values
    )


def add_report(state: str) -> None:
    times = {"processing": {"claimed_at": NOW}, "processed": {"processed_at": NOW}}
    InboxEvent.objects.create(
        event_id=f"evt_{state}", type="v1.billing.meter.error_report_triggered", payload="{}", state=state,
        event_created_at=NOW, received_at=NOW, next_attempt_at=NOW, **times.get(state, {}),
    )  # fmt: skip


def add_pull(state: str, day: date = date(2026, 10, 5)) -> None:
    claim = {"claim_token": "t", "claimed_at": NOW} if state == "pulling" else {}
    read = {"pulled_at": NOW, "fingerprint": "f"} if state in ("done", "partial") else {}
    UsagePull.objects.create(source="csv", day=day, state=state, detail="x", **claim, **read)


def test_a_day_whose_puller_died_waits_for_a_person_and_not_for_ever():
    add_pull("pulling")
    assert (look().pulls, look().stuck_pulls) == (1, 0)
    later = look(now=NOW + timedelta(minutes=15))
    assert (later.pulls, later.stuck_pulls, later.is_drained) == (0, 1, False)


def test_nothing_at_all_is_drained():
    assert look().is_drained


@pytest.mark.parametrize("state", EventState.values)
def test_an_event_counts_by_its_state_and_only_before_the_seam(account, state):
    add_event(account, state)
    seam = SHADOW if state == "shadow" else LIVE

    found = look(seam=seam)

    assert found.is_drained is (state in ("sent", "skipped", "shadow"))
    assert found.moving == int(state in OPEN_STATES)
    assert found.stuck == int(state in ("rejected", "expired"))
    assert look(datetime(2026, 10, 5, tzinfo=UTC), seam=seam).is_drained


def test_a_shadow_event_that_the_rule_would_send_is_on_its_way(account):
    add_event(account, "shadow")

    assert look(seam=SHADOW).shadow == 1
    found = look(seam=LIVE)
    assert (found.shadow, found.events, found.is_drained) == (0, 1, False)


def test_what_waits_for_a_customer_is_told_and_blocks_nobody(account):
    add_event(account, "pending", payer=None)

    found = look()

    assert (found.without_customer, found.events, found.is_drained) == (1, 0, True)


def test_statements_count_until_they_are_rolled_up(account):
    store_usage(
        records=[make_input(5001, "2026-10-05", "ST", 7), make_input(5001, "2026-10-06", "ST", 8)],
        author="key:test",
        now=NOW,
    )
    assert look().records == 1

    for _ in roll_up_usage(now=NOW, grace=HOUR, seam=LIVE):
        pass
    found = look()
    assert (found.records, found.events) == (0, 1)


def test_a_month_told_in_one_figure_belongs_to_its_first_day(account):
    store_usage(records=[make_input(5001, "2026-10", "ST", 7)], author="key:test", now=NOW)

    assert look().records == 1
    assert look(datetime(2026, 10, 1, tzinfo=UTC)).is_drained


@pytest.mark.parametrize(
    ("state", "figures"),
    [("waiting", (1, 0)), ("pulling", (1, 0)), ("partial", (0, 1)), ("failed", (0, 1)), ("done", (0, 0))],
)
def test_days_still_to_pull_count(state, figures):
    add_pull(state)
    add_pull("waiting", date(2026, 10, 6))

    found = look()

    assert (found.pulls, found.stuck_pulls) == figures
    assert found.is_drained is (figures == (0, 0))


@pytest.mark.parametrize(
    ("state", "figures"),
    [("received", (1, 0)), ("processing", (1, 0)), ("failed", (0, 1)), ("processed", (0, 0))],
)
def test_unread_reports_count_because_they_take_events_back(state, figures):
    add_report(state)

    found = look()

    assert (found.reports, found.stuck_reports) == figures


def test_nothing_is_proven_while_usage_is_still_taken():
    found = look(now=UNTIL + HOUR - timedelta(seconds=1))
    assert not found.is_drained
    assert "usage is taken until 2026-10-06T01:00Z" in found.describe_open()
    with pytest.raises(NotDrained):
        record_drain(state=found, actor="test", now=NOW)
    assert not AuditEntry.objects.exists()

    assert look(now=UNTIL + HOUR).is_drained


def test_the_instant_has_to_be_a_bucket_bound():
    with pytest.raises(InvalidInput, match="--until must lie on a bucket bound"):
        look(UNTIL + HOUR)


def watch(clock: Clock, *, seconds: int, on_sleep=lambda: None):
    def sleep(pause: float) -> None:
        clock.sleep(pause)
        on_sleep()

    return list(
        watch_drain(
            until=UNTIL, seam=LIVE, grace=HOUR, timeout=timedelta(seconds=seconds), clock=clock, sleep=sleep
        )
    )


def test_waiting_ends_as_soon_as_it_is_drained(account):
    event, clock = add_event(account, "sending"), Clock()

    def settle() -> None:
        if clock.now >= NOW + timedelta(seconds=3):
            MeterEvent.objects.filter(pk=event.pk).update(state="sent", sent_at=NOW)

    looks = watch(clock, seconds=60, on_sleep=settle)

    assert [state.is_drained for state in looks] == [False, False, False, True]


def test_waiting_ends_at_the_timeout(account):
    add_event(account, "sending")

    assert len(watch(Clock(), seconds=5)) == 6


def test_nobody_waits_for_what_only_people_can_settle(account):
    add_event(account, "rejected")

    assert len(watch(Clock(), seconds=60)) == 1


def test_nobody_waits_for_buckets_that_close_too_late():
    assert len(watch(Clock(UNTIL), seconds=60)) == 1
    assert len(watch(Clock(UNTIL + HOUR - timedelta(seconds=2)), seconds=60)) == 3


def run(*arguments: str) -> str:
    out = io.StringIO()
    with time_machine.travel(NOW, tick=False):
        call_command("cutover_drain", *arguments, stdout=out)
    return out.getvalue().strip()


def test_the_command_proves_it_and_writes_the_proof_down(account):
    add_event(account, "sent")
    add_event(account, "shadow", revision=1, first_revision=1)
    add_event(account, "pending", bucket="2026-10-06")

    said = run("--until", "2026-10-06", "--timeout", "0")

    assert said == (
        "drained before 2026-10-06: 1 meter events sent, 1 left to the old side, 0 never billed,"
        " 0 without a Stripe customer"
    )
    entry = AuditEntry.objects.get(action="metering.cutover_drained")
    assert (entry.subject_id, entry.actor) == ("2026-10-06", "command:cutover_drain")
    assert entry.after == {"sent": 1, "shadow": 1, "skipped": 0, "without_customer": 0}


def test_the_command_tells_the_figures_and_exits_with_2(account):
    add_event(account, "rejected")
    add_event(account, "sending", revision=1, first_revision=1)

    with pytest.raises(CommandError) as refusal:
        run("--until", "2026-10-06", "--timeout", "0")

    assert refusal.value.returncode == 2
    assert str(refusal.value) == (
        "not drained before 2026-10-06: 0 days to pull, 0 statements to roll up, 1 meter events to send,"
        " 0 reports of Stripe's to read; waiting for a person: 1 meter events rejected, 0 expired,"
        " 0 days not pulled whole, 0 reports failed"
    )
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--until", "soon"], "neither a day"),
        (["--until", "2026-10-06T01:00:00Z"], "bucket bound"),
        (["--until", "2026-10-06", "--timeout", "-1"], "--timeout is 0 to 86400"),
        (["--until", "2026-10-06", "--timeout", "9" * 30], "--timeout is 0 to 86400"),
    ],
)
def test_a_refused_question_is_one_line(arguments, message):
    with pytest.raises(CommandError) as refusal:
        run(*arguments)
    assert refusal.value.returncode == 2
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


#: What counts as settled: what was never attempted follows the seam at each look.
SETTLED = {LIVE: {"sent", "skipped"}, SHADOW: {"sent", "skipped", "shadow", "pending"}}


class EveryMixtureTest(TestCase):
    @pytest.mark.sqlite_only
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from((LIVE, SHADOW)),
        st.lists(st.tuples(st.integers(4, 7), st.sampled_from(EventState.values)), max_size=8),
    )
    def test_it_is_drained_exactly_if_every_event_before_it_is_settled(self, seam, events):
        account = CustomerAccountFactory.create(id=5001)
        BillingLeaseFactory.create(account=account)
        for number, (day, state) in enumerate(events):
            add_event(account, state, bucket=f"2026-10-{day:02d}", revision=number)

        found = look(seam=seam)

        before = [state for day, state in events if day < 6]
        assert found.is_drained is all(state in SETTLED[seam] for state in before)
        assert found.sent + found.shadow + found.skipped + found.events + found.stuck == len(before)
