from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from billing_worker.accounts.states import AccountStatus, Biller
from billing_worker.core.periods import Period
from metering.models import MeterEvent, UsageRecord
from metering.services.ingest import store_usage
from metering.services.roll_up import RollUpResult, roll_up_usage
from metering.services.seam import Seam
from tests.factories import AccountFactory, BillingLeaseFactory, CustomerAccountFactory
from tests.metering.factories import LIVE, NOW, SHADOW, make_input

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def store(*records):
    outcomes = store_usage(records=records, author="key:test", now=NOW)
    assert not [outcome for outcome in outcomes if outcome.is_refused]


def roll_up(now: datetime = NOW, *, seam: Seam = LIVE, period: Period | None = None) -> RollUpResult:
    result = RollUpResult()
    for result in roll_up_usage(now=now, grace=HOUR, seam=seam, period=period):  # noqa: B007
        pass
    return result


def held():
    return list(MeterEvent.objects.order_by("identifier").values_list("identifier", "value", "state"))


@pytest.fixture
def account():
    account = CustomerAccountFactory.create(id=5001)
    BillingLeaseFactory.create(account=account)
    return account


def test_each_day_and_type_becomes_one_event_inside_its_day(account):
    store(make_input(5001, "2026-10-05", "ST", 70), make_input(5001, "2026-10-05", "RM", 3))

    result = roll_up()

    assert (result.months, result.records, result.events) == (1, 2, 2)
    assert held() == [("5001:2026-10-05:RM", 3, "pending"), ("5001:2026-10-05:ST", 70, "pending")]
    event = MeterEvent.objects.get(meter="ST")
    assert event.at == datetime(2026, 10, 5, 12, tzinfo=UTC)
    assert (event.event_name, event.period, event.bucket) == ("impressions_st", "2026-10", "2026-10-05")
    assert event.payer == account
    assert event.lane is not None
    assert event.lane.customer == "cus_5001"


def test_a_month_becomes_one_event_on_its_last_day(account):
    store(make_input(5001, "2026-10", "ST", 70))
    roll_up()

    event = MeterEvent.objects.get()
    assert event.identifier == "5001:2026-10:ST"
    assert event.at == datetime(2026, 10, 31, 12, tzinfo=UTC)


def test_rolling_up_again_makes_nothing_new(account):
    store(make_input(5001, "2026-10-05", "ST", 70))
    roll_up()

    assert roll_up().events == 0
    assert len(held()) == 1


@pytest.mark.parametrize(
    ("period", "at", "is_closed"),
    [
        ("2026-10-05", datetime(2026, 10, 6, 0, 59, 59, tzinfo=UTC), False),
        ("2026-10-05", datetime(2026, 10, 6, 1, 0, tzinfo=UTC), True),
        ("2026-10-31", datetime(2026, 11, 1, 1, 0, tzinfo=UTC), True),
        ("2026-10", datetime(2026, 11, 1, 0, 59, 59, tzinfo=UTC), False),
        ("2026-10", datetime(2026, 11, 1, 1, 0, tzinfo=UTC), True),
    ],
)
def test_a_bucket_closes_an_hour_after_its_end(account, period, at, is_closed):
    store(make_input(5001, period, "ST", 70))

    assert roll_up(at).events == int(is_closed)
    assert UsageRecord.objects.filter(rolled_up_at__isnull=True).exists() is not is_closed


def test_revisions_told_before_the_roll_up_make_one_event(account):
    store(make_input(5001, "2026-10-05", "ST", 70))
    store(make_input(5001, "2026-10-05", "ST", 55, "late filter"))
    roll_up()

    assert held() == [("5001:2026-10-05:ST:1", 55, "pending")]


def test_a_restatement_after_the_roll_up_makes_a_correction(account):
    store(make_input(5001, "2026-10-05", "ST", 70))
    roll_up()
    store(make_input(5001, "2026-10-05", "ST", 55, "late filter"))
    store(make_input(5001, "2026-10-05", "ST", 60, "filter corrected"))
    roll_up()

    assert held() == [("5001:2026-10-05:ST", 70, "pending"), ("5001:2026-10-05:ST:2", -10, "pending")]
    correction = MeterEvent.objects.get(value=-10)
    assert (correction.first_revision, correction.revision) == (1, 2)
    assert correction.at == datetime(2026, 10, 5, 12, tzinfo=UTC)


def test_zero_units_make_no_event(account):
    store(make_input(5001, "2026-10-05", "ST", 0), make_input(5001, "2026-10-06", "ST", 5))
    store(make_input(5001, "2026-10-06", "ST", 0, "all filtered"))

    result = roll_up()

    assert (result.records, result.events) == (3, 0)
    assert not UsageRecord.objects.filter(rolled_up_at__isnull=True).exists()


def test_usage_of_a_suspended_account_is_stored_and_never_billed():
    account = CustomerAccountFactory.create(id=5001, status=AccountStatus.SUSPENDED)
    BillingLeaseFactory.create(account=account)
    store(make_input(5001, "2026-10-05", "ST", 70))

    result = roll_up()

    assert (result.events, result.skipped) == (1, 1)
    event = MeterEvent.objects.get()
    assert event.state == "skipped"
    assert event.reason.startswith("account suspended")


def test_usage_of_a_child_under_a_suspended_payer_is_never_billed():
    parent = CustomerAccountFactory.create(id=5001, status=AccountStatus.SUSPENDED)
    child = AccountFactory.create(id=5002, parent=parent)
    BillingLeaseFactory.create(account=child)
    store(make_input(5002, "2026-10-05", "ST", 70))

    result = roll_up()

    assert (result.events, result.skipped) == (1, 1)
    event = MeterEvent.objects.get()
    assert (event.state, event.reason.partition(":")[0]) == ("skipped", "payer suspended")


def test_a_child_without_a_customer_is_told_on_its_parents_customer():
    parent = CustomerAccountFactory.create(id=5001)
    child = AccountFactory.create(id=5002, parent=parent)
    BillingLeaseFactory.create(account=child)
    store(make_input(5002, "2026-10-05", "ST", 70))
    roll_up()

    event = MeterEvent.objects.get()
    assert (event.account_id, event.payer_id) == (5002, 5001)
    assert event.identifier == "5002:2026-10-05:ST"
    assert event.lane is not None
    assert event.lane.customer == "cus_5001"


def test_usage_without_any_customer_waits_and_is_counted():
    account = AccountFactory.create(id=5001)
    BillingLeaseFactory.create(account=account)
    store(make_input(5001, "2026-10-05", "ST", 70))

    result = roll_up()

    assert (result.events, result.without_customer) == (1, 1)
    assert held() == [("5001:2026-10-05:ST", 70, "pending")]


@pytest.mark.parametrize(
    ("biller", "seam", "state"),
    [
        (Biller.STRIPE, LIVE, "pending"),
        (Biller.STRIPE, SHADOW, "shadow"),
        (Biller.LEGACY, LIVE, "shadow"),
        (None, LIVE, "shadow"),
    ],
)
def test_an_event_is_pending_only_where_stripe_bills(biller, seam, state):
    account = CustomerAccountFactory.create(id=5001)
    if biller:
        BillingLeaseFactory.create(account=account, biller=biller)
    store(make_input(5001, "2026-10-05", "ST", 70))
    roll_up(seam=seam)

    assert held() == [("5001:2026-10-05:ST", 70, state)]


def test_only_the_asked_month_is_rolled_up(account):
    store(make_input(5001, "2026-10-05", "ST", 70), make_input(5001, "2026-09-05", "ST", 1))

    assert roll_up(period=Period(2026, 10)).records == 1
    assert held() == [("5001:2026-10-05:ST", 70, "pending")]
