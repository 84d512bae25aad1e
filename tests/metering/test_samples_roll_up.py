from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing_worker.accounts.states import AccountStatus
from billing_worker.catalog.sampled.states import BucketLength, SampledQuantity
from metering.models import MeterEvent, SampleBucket, SampleFeed, SampleSpill, UsageSample
from metering.samples.roll_up import roll_up_samples
from metering.services.roll_up import RollUpResult, add_result
from metering.services.seam import Seam
from tests.factories import AccountFactory, BillingLeaseFactory, CustomerAccountFactory
from tests.metering.factories import LIVE, NOW, make_sample, make_sampled_meter, put_on_tier, store_sample

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def roll_up(now: datetime = NOW, *, seam: Seam = LIVE, **options: Any) -> RollUpResult:
    result = RollUpResult()
    for part in roll_up_samples(now=now, grace=HOUR, seam=seam, **options):
        add_result(result, part)
    return result


def held() -> list[tuple[str, int]]:
    return list(MeterEvent.objects.order_by("bucket_start_at", "revision").values_list("identifier", "value"))


@pytest.fixture
def account():
    account = CustomerAccountFactory.create(id=5001)
    for period in ("2026-10", "2026-11"):
        BillingLeaseFactory.create(account=account, period=period)
    make_sampled_meter()
    put_on_tier(5001, "pro")
    return account


def test_a_minute_becomes_its_gb_seconds(account):
    store_sample(make_sample())
    result = roll_up()

    assert (result.samples, result.events, result.months) == (1, 1, 1)
    event = MeterEvent.objects.get()
    assert (event.identifier, event.value, event.state) == (
        "5001:2026-10-05T14:gb_seconds_pro",
        60,
        "pending",
    )
    assert event.at == datetime(2026, 10, 5, 14, 30, tzinfo=UTC)
    assert (event.event_name, event.period, event.payer) == ("gb_seconds_pro", "2026-10", account)
    assert event.lane is not None
    assert roll_up().events == 0


@pytest.mark.parametrize(
    ("at", "seconds", "values"),
    [
        # Half a minute on each side of midnight.
        ("2026-10-06T00:00:30Z", 60, {"2026-10-05T23": 30, "2026-10-06T00": 30}),
        # Over the month's end: each month gets its own second.
        ("2026-11-01T00:00:01Z", 2, {"2026-10-31T23": 1, "2026-11-01T00": 1}),
        # The interval is half-open: what ends with the hour is all of that hour.
        ("2026-10-05T15:00:00Z", 60, {"2026-10-05T14": 60}),
        # The clocks of Europe go back at 01:00 UTC on the 25th, and nothing happens.
        ("2026-10-25T02:00:00Z", 7200, {"2026-10-25T00": 3600, "2026-10-25T01": 3600}),
        ("2026-10-25T02:00:00+02:00", 60, {"2026-10-24T23": 60}),
        # A last instant, cut to the millisecond: 59.999 s begin at 23:59:00.
        ("2026-10-31T23:59:59.999Z", "59.999", {"2026-10-31T23": 59}),
        ("2026-10-31T23:59:59.999999Z", 1, {"2026-10-31T23": 1}),
    ],
)
def test_intervals_are_clipped_at_bucket_bounds(account, at, seconds, values):
    from decimal import Decimal

    store_sample(make_sample(at=at, interval_s=Decimal(seconds) if isinstance(seconds, str) else seconds))
    roll_up()

    assert {event.bucket: event.value for event in MeterEvent.objects.all()} == values
    assert all(event.at.strftime("%Y-%m-%dT%H") == event.bucket for event in MeterEvent.objects.all())
    assert all(event.period == event.bucket[:7] for event in MeterEvent.objects.all())


def test_the_longest_sample_is_cut_into_twenty_five_hours(account):
    store_sample(make_sample(at="2026-10-06T12:30:00Z", interval_s=86_400))
    roll_up()

    assert [value for _, value in held()] == [1800, *([3600] * 23), 1800]
    assert SampleSpill.objects.count() == 24


def test_fractions_are_carried_to_the_next_bucket_of_the_month(account):
    # 100 MB for 10 s are 0.9765625 GB-seconds.
    quarters = {"interval_s": 10, "dimensions": {"memory_mb": 100}}
    for hour in range(4):
        store_sample(make_sample(f"e{hour}", f"2026-10-05T{10 + hour}:30:00Z", **quarters))
    store_sample(make_sample("november", "2026-11-01T10:30:00Z", **quarters))
    roll_up()

    assert held() == [
        ("5001:2026-10-05T11:gb_seconds_pro", 1),
        ("5001:2026-10-05T12:gb_seconds_pro", 1),
        ("5001:2026-10-05T13:gb_seconds_pro", 1),
    ]
    assert list(SampleFeed.objects.values_list("period", "units", "billed")) == [
        ("2026-10", 4_000_000, 3), ("2026-11", 1_000_000, 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bucket", "now", "events"),
    [
        (BucketLength.HOUR, datetime(2026, 10, 5, 15, 59, 59, tzinfo=UTC), 0),
        (BucketLength.HOUR, datetime(2026, 10, 5, 16, tzinfo=UTC), 1),
        (BucketLength.DAY, datetime(2026, 10, 6, 0, 59, 59, tzinfo=UTC), 0),
        (BucketLength.DAY, datetime(2026, 10, 6, 1, tzinfo=UTC), 1),
    ],
)
def test_a_bucket_closes_after_the_grace(bucket, now, events):
    CustomerAccountFactory.create(id=5001)
    make_sampled_meter(bucket=bucket, tiers=("",))
    put_on_tier(5001, "")
    store_sample(make_sample())

    result = roll_up(now)
    assert (result.samples, result.events) == (1, events)
    assert SampleBucket.objects.get().is_open is not bool(events)
    if events and bucket == BucketLength.DAY:
        event = MeterEvent.objects.get()
        assert (event.identifier, event.at.hour) == ("5001:2026-10-05:gb_seconds", 12)


def test_late_samples_are_corrections_with_a_revision(account):
    store_sample(make_sample())
    roll_up()
    store_sample(make_sample("late", interval_s=5))
    roll_up()
    store_sample(make_sample("later", interval_s=7), make_sample("later", interval_s=7))
    roll_up()

    assert held() == [
        ("5001:2026-10-05T14:gb_seconds_pro", 60),
        ("5001:2026-10-05T14:gb_seconds_pro:1", 5),
        ("5001:2026-10-05T14:gb_seconds_pro:2", 7),
    ]
    assert {event.at for event in MeterEvent.objects.all()} == {datetime(2026, 10, 5, 14, 30, tzinfo=UTC)}


def test_vcpu_seconds_count_thousandths(account):
    from decimal import Decimal

    make_sampled_meter("vcpu_seconds", tiers=("",), quantity=SampledQuantity.VCPU_SECONDS)
    put_on_tier(5001, "", meter="vcpu_seconds")
    store_sample(
        make_sample(
            meter="vcpu_seconds", interval_s=Decimal("8.5"), dimensions={"cpu_count": Decimal("0.25")}
        )
    )
    roll_up()

    assert held() == [("5001:2026-10-05T14:vcpu_seconds", 2)]
    assert SampleFeed.objects.get().units == 2_125_000


def test_each_tier_has_its_own_meter_and_month(account):
    AccountFactory.create(id=5002, parent=account)
    put_on_tier(5002, "standard")
    put_on_tier(5002, "pro", period="2026-12")
    store_sample(make_sample(), make_sample("e2", account_id=5002))
    roll_up()

    assert held() == [
        ("5001:2026-10-05T14:gb_seconds_pro", 60),
        ("5002:2026-10-05T14:gb_seconds_standard", 60),
    ]
    assert {event.payer_id for event in MeterEvent.objects.all()} == {5001}


def test_a_suspended_accounts_samples_are_never_billed(account):
    account.status = AccountStatus.SUSPENDED
    account.save()
    store_sample(make_sample())

    result = roll_up()
    assert (result.events, result.skipped) == (1, 1)
    assert MeterEvent.objects.get().state == "skipped"
    assert UsageSample.objects.count() == 1
