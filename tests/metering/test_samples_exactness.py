"""Whatever the order, the repetitions, the batches, the crashes and the flips: samples are billed once, to the unit."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from billing_worker.accounts.models import BillingLease
from billing_worker.accounts.states import Biller
from billing_worker.catalog.sampled.states import BucketLength
from metering.models import MeterEvent, SampleBatch, SampleBucket, SampleFeed, SendingLane
from metering.samples.clipping import HOUR, clip_interval
from metering.samples.roll_up import roll_up_samples
from metering.samples.selectors import count_open_samples
from metering.services.seam import Seam
from metering.services.sending import SenderOptions, drain_meter_events
from tests.factories import BillingLeaseFactory, CustomerAccountFactory
from tests.metering.factories import (
    LIVE,
    NOW,
    Clock,
    FakeStripe,
    make_sample,
    make_sampled_meter,
    put_on_tier,
    store_sample,
    unavailable,
)
from tests.support.processes import PYTHON, ROOT

DAY = timedelta(days=1)
#: The last evening of October: intervals that end a little later reach over hour, day and month.
EVENING = datetime(2026, 10, 31, 22, tzinfo=UTC)
#: Nothing closed yet; one hour; October's last hour; all of it.
MOMENTS = (EVENING, EVENING + 2 * HOUR, EVENING + 3 * HOUR, NOW)
UNIT = 1024 * 1000  # megabyte-milliseconds in a GB-second


class Crash(BaseException):
    """The process dies: nothing catches this."""


def make_account(bucket: BucketLength = BucketLength.HOUR) -> None:
    account = CustomerAccountFactory.create(id=5001)
    for period in ("2026-10", "2026-11"):
        BillingLeaseFactory.create(account=account, period=period)
    make_sampled_meter(bucket=bucket)
    put_on_tier(5001, "pro")


def roll_up(now: datetime = NOW, seam: Seam = LIVE) -> None:
    for _ in roll_up_samples(now=now, grace=HOUR, seam=seam):
        pass


def send(stripe: FakeStripe, seam: Seam = LIVE, clock: Clock | None = None) -> None:
    clock = clock or Clock()
    options = SenderOptions(threads=1, patience=timedelta(minutes=30))
    for _ in drain_meter_events(port=stripe, seam=seam, options=options, clock=clock, sleep=clock.sleep):
        pass


@given(
    at_ms=st.integers(0, 10**8),
    interval_ms=st.integers(1, 86_400_000),
    bucket=st.sampled_from((HOUR, DAY)),
)
@settings(max_examples=40, deadline=None)
def test_parts_are_exactly_the_whole_and_each_lies_in_its_bucket(at_ms, interval_ms, bucket):
    at = datetime(2026, 10, 31, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    parts = list(clip_interval(at=at, interval_ms=interval_ms, bucket=bucket))

    assert sum(part.milliseconds for part in parts) == interval_ms
    begin = at - timedelta(milliseconds=interval_ms)
    for part in parts:
        start = datetime.fromisoformat(f"{part.period}-01T00:00:00+00:00") + part.hour * HOUR
        end = begin + timedelta(milliseconds=part.milliseconds)
        assert start <= begin < end <= start + bucket
        assert (start - datetime(2026, 1, 1, tzinfo=UTC)) % bucket == timedelta(0)
        begin = end


#: What is told: minutes after the evening at which it ends, milliseconds, megabytes.
TICKS = st.lists(
    st.tuples(
        st.integers(0, 300), st.sampled_from((1, 999, 10_000, 59_999, 7_200_000)), st.integers(0, 2000)
    ),
    min_size=1,
    max_size=6,
)
#: What may happen, in any order and any number. A batch names ticks by number and may repeat them.
STEPS = st.one_of(
    st.tuples(st.just("tell"), st.lists(st.integers(0, 5), min_size=1, max_size=5)),
    st.tuples(st.just("roll_up"), st.sampled_from(MOMENTS)),
    st.tuples(st.just("send"), st.sampled_from(("", "before", "after"))),
    st.tuples(st.just("shadow"), st.booleans()),
    st.tuples(st.just("bill_from"), st.sampled_from((None, EVENING + 2 * HOUR))),
    st.tuples(st.just("lease"), st.sampled_from(Biller.values)),
)


class AnyOrderTest(TestCase):
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    # Late ones into a closed bucket, which is closed again; then into a month that is.
    @example(
        [(10, 59_999, 1000), (10, 59_999, 999), (130, 999, 77)],
        [("tell", [0]), ("roll_up", NOW), ("tell", [1]), ("roll_up", NOW), ("send", ""), ("tell", [2])],
        BucketLength.HOUR,
    )
    @given(TICKS, st.lists(STEPS, max_size=14), st.sampled_from(BucketLength))
    def test_any_story_bills_the_same_total(self, ticks, steps, bucket):
        make_account(bucket)
        stripe, clock, seam = FakeStripe(), Clock(), LIVE
        samples = [make_tick(number, *tick) for number, tick in enumerate(ticks)]
        for step in steps:
            match step:
                case ("tell", numbers):
                    store_sample(*(samples[number % len(samples)] for number in numbers))
                case ("roll_up", now):
                    roll_up(now, seam)
                case ("send", fault):
                    break_next(stripe, fault)
                    send(stripe, seam, clock)
                case ("shadow", is_on):
                    seam = Seam(shadow=is_on, bill_from=seam.bill_from)
                case ("bill_from", moment):
                    seam = Seam(shadow=seam.shadow, bill_from=moment)
                case ("lease", biller):
                    BillingLease.objects.update(biller=biller)
            check_never_too_much(stripe, ticks)

        BillingLease.objects.update(biller=Biller.STRIPE)
        outcomes = store_sample(*samples, *reversed(samples))
        assert set(outcomes) <= {"accepted", "duplicate"}
        assert count_open_samples(account_ids=[5001]) > 0 or "accepted" not in outcomes
        roll_up()
        send(stripe, LIVE, clock)

        assert sum_sent(stripe) == expect(ticks)
        assert set(MeterEvent.objects.values_list("state", flat=True)) <= {"sent"}
        assert count_open_samples() == 0
        assert {feed.period: feed.billed for feed in SampleFeed.objects.all() if feed.billed} == expect(ticks)


def make_tick(number: int, minute: int, milliseconds: int, memory_mb: int) -> dict[str, Any]:
    at = EVENING + timedelta(minutes=minute)
    return make_sample(
        f"tick-{number}",
        at.isoformat(),
        interval_s=Decimal(milliseconds) / 1000,
        dimensions={"memory_mb": memory_mb},
    )


def expect(ticks: list[tuple[int, int, int]]) -> dict[str, int]:
    """Each month's whole GB-seconds, by another way than the code's: cut once, at the month's end."""
    end = 2 * 3_600_000
    october = november = 0
    for minute, milliseconds, memory_mb in ticks:
        stop = minute * 60_000
        before = max(0, min(stop, end) - (stop - milliseconds))
        october += before * memory_mb
        november += (milliseconds - before) * memory_mb
    months = {"2026-10": october // UNIT, "2026-11": november // UNIT}
    return {period: value for period, value in months.items() if value}


def sum_sent(stripe: FakeStripe) -> dict[str, int]:
    totals: dict[str, int] = {}
    for call in stripe.events.values():
        period = f"{call.at:%Y-%m}"
        totals[period] = totals.get(period, 0) + call.value
    return totals


def check_never_too_much(stripe: FakeStripe, ticks: list[tuple[int, int, int]]) -> None:
    wanted = expect(ticks)
    assert all(value <= wanted.get(period, 0) for period, value in sum_sent(stripe).items())


def break_next(stripe: FakeStripe, fault: str) -> None:
    """The next call of the oldest pending event ends without an answer, before or after its effect."""
    event = MeterEvent.objects.filter(state="pending").order_by("at", "pk").first()
    if fault and event is not None:
        stripe.faults[event.identifier] = [unavailable() if fault == "before" else ("after", unavailable())]


@pytest.mark.django_db(transaction=True)
def test_a_roll_up_killed_at_any_statement_loses_and_doubles_nothing():
    make_account()
    # Over the bounds of hour and month, a fraction to carry, and two batches with a gap between their keys.
    store_sample(
        make_sample("a", "2026-10-31T23:30:00Z", interval_s=3600),
        make_sample("b", interval_s=10, dimensions={"memory_mb": 100}),
    )
    SampleBatch.objects.create(received_at=NOW, samples=1).delete()
    store_sample(make_sample("c", "2026-11-01T00:00:30Z"), make_sample("d", "2026-10-05T16:30:00Z"))
    statements = count_statements(roll_up)
    whole = snapshot()
    # 60 minutes to 23:30, 0.9765625 s carried past the 5th, half of c, d; then the other half of c.
    assert [value for _, value, _ in whole[0]] == [60, 1800, 1830, 30]
    assert statements > 20

    for fatal in range(statements):
        reset()
        with connection.execute_wrapper(Dying(fatal)), pytest.raises(Crash):
            roll_up()
        assert is_consistent()
        roll_up()
        assert snapshot() == whole

    stripe = FakeStripe()
    send(stripe)
    assert stripe.total == 3720


def snapshot() -> tuple[list[Any], list[Any], list[Any], int]:
    return (
        list(
            MeterEvent.objects.order_by("bucket_start_at", "revision").values_list("bucket", "value", "state")
        ),
        list(
            SampleBucket.objects.values_list("feed_id", "hour", "units", "closed_units", "parts", "is_open")
        ),
        list(SampleFeed.objects.values_list("period", "units", "billed")),
        SampleBatch.objects.filter(folded_at__isnull=True).count(),
    )


def reset() -> None:
    MeterEvent.objects.all().delete()
    SendingLane.objects.all().delete()
    SampleBucket.objects.all().delete()
    SampleFeed.objects.update(units=0, billed=0)
    SampleBatch.objects.update(folded_at=None)


def is_consistent() -> bool:
    """Batches and buckets agree, and what a month billed is what its events say."""
    folded = SampleBatch.objects.filter(folded_at__isnull=False).count()
    billed = sum(SampleFeed.objects.values_list("billed", flat=True))
    return (
        (folded in (0, 2))
        and (folded == 2) == SampleBucket.objects.exists()
        and billed == sum(MeterEvent.objects.values_list("value", flat=True))
    )


class Dying:
    """Lets `fatal` statements pass and dies at the next."""

    def __init__(self, fatal: int) -> None:
        self.left = fatal

    def __call__(self, execute, sql, params, many, context):
        if self.left == 0:
            raise Crash(sql)
        self.left -= 1
        return execute(sql, params, many, context)


def count_statements(work) -> int:
    seen: list[str] = []

    def note(execute, sql, params, many, context):
        seen.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        work()
    return len(seen)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'mysql'", reason="two writers at once need a server")
def test_of_three_processes_the_last_does_what_the_killed_ones_began():
    make_account()
    store_sample(
        make_sample("a", "2026-10-31T23:30:00Z", interval_s=3600),
        make_sample("b"),
        make_sample("c", interval_s=1),
    )
    done = subprocess.run(
        [
            *(PYTHON, "-m", "tests.metering.samples_world"),
            # The first dies folding; the second folds and dies closing the month.
            *("INSERT INTO metering_samplebucket", "INSERT INTO metering_meterevent"),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "TEST_DATABASE_URL": name_database(),
            "DJANGO_SETTINGS_MODULE": "tests.metering.process_settings",
        },
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"samples": 0, "events": 3}
    assert sorted(MeterEvent.objects.values_list("bucket", "value")) == [
        ("2026-10-05T14", 61),
        ("2026-10-31T22", 1800),
        ("2026-10-31T23", 1800),
    ]


def name_database() -> str:
    """The test's own database, as `DATABASE_URL` names one."""
    told = connection.settings_dict
    return f"mysql://root@{quote(str(told['HOST']), safe='')}/{told['NAME']}"
