"""Old samples go, what they came to stays, and nothing is counted again because it was forgotten."""

from __future__ import annotations

from datetime import datetime, timedelta
from io import StringIO

import pytest
import time_machine
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from metering.models import (
    MeterEvent,
    SampleBatch,
    SampleBucket,
    SampleFeed,
    SampleHorizon,
    SampleSpill,
    UsageSample,
)
from metering.samples.ingest import store_samples
from metering.samples.parsing import parse_sample
from metering.samples.pruning import prune_samples, set_horizon
from metering.samples.roll_up import roll_up_samples
from metering.tasks import prune_samples as prune_task
from tests.factories import BillingLeaseFactory, CustomerAccountFactory
from tests.metering.factories import LIVE, NOW, make_sample, make_sampled_meter, put_on_tier

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
LATER = NOW + 60 * DAY


def store(*raw, now: datetime = NOW) -> list[str]:
    samples = [parse_sample(one, now=now) for one in raw]
    return [outcome.status for outcome in store_samples(samples=samples, now=now)]


def roll_up(now: datetime) -> None:
    for _ in roll_up_samples(now=now, grace=timedelta(hours=1), seam=LIVE):
        pass


def count() -> tuple[int, int, int]:
    return SampleBatch.objects.count(), UsageSample.objects.count(), SampleSpill.objects.count()


@pytest.fixture
def account():
    """Two samples of October in a batch, a spill among them, and one of December; all rolled up."""
    account = CustomerAccountFactory.create(id=5001)
    BillingLeaseFactory.create(account=account)
    make_sampled_meter()
    put_on_tier(5001, "pro")
    store(make_sample("old"), make_sample("longer", interval_s=3600))
    store(make_sample("young", "2026-12-20T10:00:00Z"), now=LATER)
    roll_up(LATER)
    return account


def test_samples_go_an_hour_after_their_time_was_closed(account):
    before = [list(model.objects.values()) for model in (MeterEvent, SampleBucket, SampleFeed)]
    horizon = set_horizon(keep=45 * DAY, now=LATER)
    assert f"{horizon:%Y-%m-%d %H:%M}" == "2026-11-18 00:00"
    assert list(prune_samples(now=LATER + timedelta(minutes=59))) == []
    assert count() == (2, 3, 1)
    assert list(prune_samples(now=LATER + timedelta(hours=1))) == [2]
    assert count() == (1, 1, 0)
    assert UsageSample.objects.get().event_id == "young"
    assert before == [list(model.objects.values()) for model in (MeterEvent, SampleBucket, SampleFeed)]


def test_what_was_forgotten_is_refused_and_not_counted_again(account):
    set_horizon(keep=45 * DAY, now=LATER)
    assert store(make_sample("old"), now=LATER) == ["invalid"], "from the moment that the horizon is set"
    assert list(prune_samples(now=LATER + DAY)) == [2]
    assert (
        store(make_sample("old"), make_sample("new", "2026-11-17T23:59:59.999Z"), now=LATER)
        == ["invalid"] * 2
    )
    assert store(make_sample("newer", "2026-11-18T00:00:00Z"), now=LATER) == ["accepted"]
    # A longer retention, later on, does not open what was closed.
    assert set_horizon(keep=400 * DAY, now=LATER) == set_horizon(keep=45 * DAY, now=LATER)
    assert SampleHorizon.objects.count() == 1


def test_a_clock_that_is_years_ahead_refuses_no_sample_of_today(account):
    """The horizon never goes back: set once by such a clock, usage would be refused until somebody noticed."""
    wrong = LATER + 1500 * DAY
    for now in (wrong, wrong + DAY):
        set_horizon(keep=45 * DAY, now=now)
        list(prune_samples(now=now))

    assert SampleHorizon.objects.get().before_at == (LATER - 43 * DAY).replace(hour=0)
    assert store(make_sample("today", "2026-12-31T10:00:00Z"), now=LATER) == ["accepted"]
    assert UsageSample.objects.filter(event_id="young").exists()


def test_without_any_sample_no_horizon_is_set():
    assert set_horizon(keep=45 * DAY, now=LATER).year == 2000
    assert not SampleHorizon.objects.exists()


def test_what_is_not_folded_or_came_late_stays(account):
    store(make_sample("late", "2026-11-01T10:00:00Z"), now=LATER)
    SampleBatch.objects.filter(received_at=NOW).update(folded_at=None)
    set_horizon(keep=45 * DAY, now=LATER)
    assert list(prune_samples(now=LATER + DAY)) == []
    assert count() == (3, 4, 1)


@pytest.mark.django_db(transaction=True)
def test_killed_at_any_statement_the_next_run_does_the_rest(account):
    set_horizon(keep=45 * DAY, now=LATER)
    for fatal in range(20):
        try:
            with connection.execute_wrapper(Dying(fatal)):
                list(prune_samples(now=LATER + DAY))
        except Crash:
            # Samples, their spills and their batch go together.
            assert count() in ((2, 3, 1), (1, 1, 0))
            continue
        break
    assert 5 < fatal < 19
    assert count() == (1, 1, 0)


class Crash(BaseException):
    """The process dies: nothing catches this."""


class Dying:
    """Lets `fatal` statements pass and dies at the next."""

    def __init__(self, fatal: int) -> None:
        self.left = fatal

    def __call__(self, execute, sql, params, many, context):
        if self.left == 0:
            raise Crash(sql)
        self.left -= 1
        return execute(sql, params, many, context)


def test_the_command_and_the_task(account):
    def run(**options) -> str:
        told = StringIO()
        call_command("prune_samples", stdout=told, **options)
        return told.getvalue()

    with time_machine.travel(LATER, tick=False):
        with pytest.raises(CommandError, match="40 days at least"):
            run(keep_days=39)
        assert run(keep_days=45) == "0 samples deleted; samples before 2026-11-18 are refused\n"
        assert prune_task() == {"samples": 0}
    with time_machine.travel(LATER + DAY, tick=False):
        assert run() == "2 samples deleted; samples before 2026-11-18 are refused\n"
        assert prune_task() == {"samples": 0}
