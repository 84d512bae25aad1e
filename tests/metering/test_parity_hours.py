"""Integrals are compared over the last settled hour, impressions never: a day's total says nothing of an hour."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing_worker.alerts.models import Alert
from metering.models import ParityCheck
from metering.parity import tasks
from metering.parity.comparison import Tolerances
from metering.parity.selectors import get_quantities
from metering.parity.services import run_scheduled_checks
from metering.parity.windows import Window, get_settled_hour
from metering.samples.roll_up import roll_up_samples
from metering.services.ingest import store_usage
from tests.factories import BillingLeaseFactory, CustomerAccountFactory
from tests.metering.factories import (
    LIVE,
    NOW,
    make_input,
    make_sample,
    make_sampled_meter,
    put_on_tier,
    store_sample,
)
from tests.metering.test_parity_checks import OtherSide

pytestmark = pytest.mark.django_db
MIDNIGHT = Window.parse("2026-10-07T00:00:00Z", "2026-10-07T01:00:00Z")
NIGHT = Window.parse("2026-10-08T02:00:00Z", "2026-10-08T03:00:00Z")


@pytest.fixture(autouse=True)
def _usage():
    """30 GB-seconds in the first hour of 7 October, and a day of impressions that begins in it."""
    BillingLeaseFactory.create(account=CustomerAccountFactory.create(id=5001))
    make_sampled_meter(rate="10.5")
    put_on_tier(5001, "pro")
    store_sample(make_sample("a", "2026-10-07T00:00:30Z", interval_s=Decimal(30)))
    store_usage(records=[make_input(5001, "2026-10-07", "ST", 70)], author="test", now=NOW)
    for _ in roll_up_samples(now=NOW, grace=timedelta(hours=1), seam=LIVE):
        pass


def check(window: Window, tolerances: Tolerances | None = None, **figures: object) -> str:
    [made] = run_scheduled_checks(
        source=OtherSide(**figures), settled=[window], tolerances=tolerances or Tolerances(), now=NOW
    )
    return made.state


def test_what_is_held_is_as_the_test_says():
    assert get_quantities(MIDNIGHT)[5001, "gb_seconds_pro"] == 30


@pytest.mark.parametrize(
    ("theirs", "state"),
    [("30", "clean"), ("30.1", "clean"), ("30.2", "breach"), ("29.8", "breach"), ("0", "breach")],
)
def test_an_hour_of_an_integral_is_held_to_its_tolerance(theirs, state):
    # 0.5 % of the larger side: 0.1505 of 30.1, 0.151 of 30.2 (0.2 apart).
    assert check(MIDNIGHT, Tolerances.parse(["gb_seconds_pro=0.5"]), gb_seconds_pro=theirs) == state
    assert Alert.objects.filter(name="usage_parity_breach").exists() == (state == "breach")


@pytest.mark.parametrize("impressions", ["70", "71", "0"])
def test_impressions_are_no_part_of_an_hour(impressions):
    assert check(MIDNIGHT, gb_seconds_pro="30", ST=impressions) == "clean"


def test_an_hour_without_usage_is_clean_and_a_day_without_any_is_no_proof():
    assert check(NIGHT) == "clean"
    assert check(Window.of_day(NIGHT.start_at.date())) == "empty"


def test_the_last_settled_hour():
    now = datetime(2026, 10, 7, 7, 50, tzinfo=UTC)
    assert get_settled_hour(now, timedelta(hours=6)) == MIDNIGHT
    assert get_settled_hour(now + timedelta(minutes=9), timedelta(hours=6)) == MIDNIGHT
    assert get_settled_hour(now + timedelta(minutes=10), timedelta(hours=6)) != MIDNIGHT


@pytest.mark.parametrize(("is_hourly", "asked"), [(True, 2), (False, 1)])
def test_the_task_asks_for_the_day_and_of_those_who_can_tell_for_the_hour(
    settings, monkeypatch, is_hourly, asked
):
    other = OtherSide(gb_seconds_pro="30", ST="70")
    other.is_hourly = is_hourly

    @contextmanager
    def open_other(name):
        yield other

    settings.ENV = settings.ENV.model_copy(update={"PARITY_SOURCE": "http", "PARITY_SETTLE_HOURS": 6})
    monkeypatch.setattr("metering.parity.tasks.open_source", open_other)
    monkeypatch.setattr("django.utils.timezone.now", lambda: datetime(2026, 10, 8, 7, 50, tzinfo=UTC))
    tasks.check_parity()
    day, hour = (
        Window.parse("2026-10-07", "2026-10-08"),
        Window.parse("2026-10-08T00:00:00Z", "2026-10-08T01:00:00Z"),
    )
    assert other.asked == [day, hour][:asked]
    assert ParityCheck.objects.filter(is_scheduled=True).count() == asked
