from __future__ import annotations

import pytest
from django.db import IntegrityError, OperationalError, transaction

from billing_worker.core.periods import Period
from billing_worker.deadlocks import ATTEMPTS
from metering.models import UsageFeed, UsageRecord
from metering.selectors import get_period_totals, get_usage_totals
from metering.services import ingest
from metering.services.ingest import StoreBusy, retry_busy, store_usage
from tests.factories import AccountFactory
from tests.metering.factories import NOW, make_input

pytestmark = pytest.mark.django_db
OCTOBER = Period(2026, 10)


@pytest.fixture
def account():
    return AccountFactory.create(id=5001)


def store(*records, author="key:test"):
    return store_usage(records=records, author=author, now=NOW)


def statuses(*records):
    return [outcome.status for outcome in store(*records)]


def test_usage_is_kept_as_stated(account):
    assert statuses(make_input(5001, "2026-10-05", "ST", 70), make_input(5001, "2026-10-06", "ST", 0)) == [
        "created",
        "created",
    ]

    record = UsageRecord.objects.get(bucket_date="2026-10-05")
    assert (record.revision, record.quantity, record.delta, record.author) == (0, 70, 70, "key:test")
    assert record.received_at == NOW
    assert record.rolled_up_at is None
    assert get_usage_totals(5001, OCTOBER) == {"ST": 70, "RM": 0, "CV": 0}


def test_the_same_statement_again_changes_nothing(account):
    record = make_input(5001, "2026-10-05", "ST", 70)
    store(record)

    assert statuses(record, record) == ["unchanged", "unchanged"]
    assert UsageRecord.objects.count() == 1


def test_another_quantity_without_a_reason_is_a_conflict_with_both_figures(account):
    store(make_input(5001, "2026-10-05", "ST", 70))

    [outcome] = store(make_input(5001, "2026-10-05", "ST", 80))

    assert (outcome.status, outcome.held_quantity) == ("conflict", 70)
    assert "70 is held and 80 was given" in outcome.message
    assert get_usage_totals(5001, OCTOBER)["ST"] == 70


def test_a_restatement_is_a_new_revision_and_leaves_the_old_one(account):
    store(make_input(5001, "2026-10-05", "ST", 70))

    [outcome] = store(make_input(5001, "2026-10-05", "ST", 55, "late filter"), author="key:pipeline")

    assert (outcome.status, outcome.revision, outcome.delta, outcome.held_quantity) == (
        "restated",
        1,
        -15,
        70,
    )
    rows = UsageRecord.objects.order_by("revision").values_list(
        "revision", "quantity", "delta", "reason", "author"
    )
    assert list(rows) == [(0, 70, 70, "", "key:test"), (1, 55, -15, "late filter", "key:pipeline")]
    assert get_usage_totals(5001, OCTOBER)["ST"] == 55


def test_the_same_restatement_again_changes_nothing(account):
    store(make_input(5001, "2026-10-05", "ST", 70))
    restated = make_input(5001, "2026-10-05", "ST", 55, "late filter")
    store(restated)

    assert statuses(restated) == ["unchanged"]
    assert statuses(make_input(5001, "2026-10-05", "ST", 70)) == ["conflict"]


def test_one_key_several_times_in_a_batch_is_taken_in_order(account):
    assert statuses(
        make_input(5001, "2026-10-05", "ST", 70),
        make_input(5001, "2026-10-05", "ST", 70),
        make_input(5001, "2026-10-05", "ST", 71),
        make_input(5001, "2026-10-05", "ST", 72, "corrected"),
        make_input(5001, "2026-10-05", "ST", 73, "corrected again"),
    ) == ["created", "unchanged", "conflict", "restated", "restated"]
    assert get_usage_totals(5001, OCTOBER)["ST"] == 73


@pytest.mark.parametrize(
    ("first", "second", "in_force"),
    [("2026-10-05", "2026-10", "daily"), ("2026-10", "2026-10-05", "monthly")],
)
def test_a_month_is_fed_daily_or_monthly_and_never_both(account, first, second, in_force):
    store(make_input(5001, first, "ST", 70))

    [outcome] = store(make_input(5001, second, "RM", 1))

    assert outcome.status == "conflict"
    assert outcome.fields == {"period": [f"{in_force} totals are in force for 2026-10"]}
    assert statuses(make_input(5001, "2026-09" if in_force == "daily" else "2026-09-30", "ST", 1)) == [
        "created"
    ]


def test_both_kinds_in_one_batch_leave_the_first_in_force(account):
    assert statuses(make_input(5001, "2026-10-05", "ST", 70), make_input(5001, "2026-10", "ST", 70)) == [
        "created",
        "conflict",
    ]


def test_a_bad_record_loses_none_of_the_others(account):
    store(make_input(5001, "2026-10-01", "ST", 1))

    assert statuses(
        make_input(5999, "2026-10-05", "ST", 70),
        make_input(5001, "2026-10-01", "ST", 2),
        make_input(5001, "2026-10-02", "ST", 3),
        make_input(5999, "2026-10-06", "ST", 70),
    ) == ["invalid", "conflict", "created", "invalid"]
    assert get_usage_totals(5001, OCTOBER)["ST"] == 4


def test_months_of_several_accounts_are_kept_apart(account):
    AccountFactory.create(id=5002)
    store(
        make_input(5001, "2026-10-05", "ST", 1),
        make_input(5002, "2026-10", "ST", 20),
        make_input(5001, "2026-09-30", "ST", 300),
    )

    assert get_period_totals(OCTOBER) == {
        5001: {"ST": 1, "RM": 0, "CV": 0},
        5002: {"ST": 20, "RM": 0, "CV": 0},
    }
    assert get_period_totals(OCTOBER, account_ids=[5002]) == {5002: {"ST": 20, "RM": 0, "CV": 0}}


def test_a_batch_of_new_statements_takes_few_queries(account, django_assert_max_num_queries):
    batch = [
        make_input(5001, f"2026-10-{day:02}", kind, day)
        for day in range(1, 32)
        for kind in ("ST", "RM", "CV")
    ]

    with django_assert_max_num_queries(10):
        assert {outcome.status for outcome in store(*batch)} == {"created"}
    with django_assert_max_num_queries(16):
        assert {outcome.status for outcome in store(*batch)} == {"unchanged"}


def test_a_revision_without_a_reason_is_refused_by_the_database(account):
    store(make_input(5001, "2026-10-05", "ST", 70))
    feed = UsageFeed.objects.get()

    for changes in (
        {"revision": 1, "quantity": 80, "delta": 10, "reason": ""},
        {"revision": 0, "quantity": 80, "delta": 10, "reason": "x"},
        {"revision": 1, "quantity": -1, "delta": -71, "reason": "x"},
    ):
        with pytest.raises((IntegrityError, OperationalError)), transaction.atomic():
            UsageRecord.objects.create(
                feed=feed, bucket_date="2026-10-05", usage_type="ST", author="x", received_at=NOW, **changes
            )


@pytest.mark.django_db(transaction=True)
def test_a_deadlock_is_done_again_and_other_errors_are_not():
    answers = [
        OperationalError(1213, "Deadlock found"),
        OperationalError(1205, "Lock wait timeout"),
        "stored",
    ]

    def work():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retry_busy(work) == "stored"

    answers[:] = [OperationalError(2006, "server has gone away")]
    with pytest.raises(OperationalError):
        retry_busy(work)

    answers[:] = [OperationalError(1213, "Deadlock found")] * ATTEMPTS
    with pytest.raises(StoreBusy, match="send the batch again"):
        retry_busy(work)


def test_a_key_that_another_writer_takes_meanwhile_is_compared(account, monkeypatch):
    """The look found nothing held, then the insert meets a row: the whole comparison is made again."""
    record = make_input(5001, "2026-10-05", "ST", 70)
    real, blind = ingest._read_held, [True]

    def read_held(*args):
        if blind.pop() if blind else False:
            return {}
        return real(*args)

    store(record)
    monkeypatch.setattr(ingest, "_read_held", read_held)

    assert statuses(record) == ["unchanged"]
    assert UsageRecord.objects.count() == 1
