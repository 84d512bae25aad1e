from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from django.core.management import CommandError, call_command

from billing_worker.alerts.models import Alert
from billing_worker.core.periods import Period
from metering.models import UsageRecord
from metering.pulling import tasks
from metering.pulling.models import UsagePull
from metering.pulling.redshift import RedshiftSource, WarehouseUnavailable
from metering.pulling.services import plan_pull, run_pull
from metering.selectors import get_usage_totals
from metering.services.ingest import store_usage
from tests.factories import AccountFactory
from tests.metering.factories import NOW, make_input
from tests.metering.warehouse import warehouse as warehouse

pytestmark = [pytest.mark.django_db, pytest.mark.postgresql]
OCTOBER = Period(2026, 10)
RELOADED = datetime(2026, 11, 2, 5, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def accounts():
    return [AccountFactory.create(id=number) for number in (5001, 5002)]


@pytest.fixture
def source(warehouse):
    with RedshiftSource(warehouse.url) as opened:
        yield opened


def pull(source, *, now=NOW, reason="", again=False):
    plan = plan_pull(source=source, period=OCTOBER, now=now, again=again)
    return list(run_pull(plan=plan, clock=lambda: now, reason=reason))


def held(day="2026-10-05"):
    return [
        (record.feed.account_id, record.usage_type, record.revision, record.quantity)
        for record in UsageRecord.objects.filter(bucket_date=day).select_related("feed").order_by("pk")
    ]


def test_only_complete_days_are_pulled(warehouse, source):
    warehouse.add("2026-10-05", (5001, "ST", 70), (5001, "RM", 0), (5002, "CV", 9))
    warehouse.add("2026-10-06", (5001, "ST", 500))
    warehouse.add("2026-10-07", (5001, "ST", 600))
    warehouse.complete("2026-10-05", "2026-10-07")
    warehouse.begin_load("2026-10-07")

    [result] = pull(source)

    assert (result.day, result.state, result.rows, result.created) == (date(2026, 10, 5), "done", 3, 3)
    assert held() == [(5001, "RM", 0, 0), (5001, "ST", 0, 70), (5002, "CV", 0, 9)]
    assert set(UsageRecord.objects.values_list("author", flat=True)) == {"pull:redshift"}
    assert get_usage_totals(5001, OCTOBER) == {"ST": 70, "RM": 0, "CV": 0}


def test_a_day_that_is_not_over_waits(warehouse, source):
    warehouse.add("2026-10-05", (5001, "ST", 70))
    warehouse.complete("2026-10-05", at=datetime(2026, 10, 5, 9, tzinfo=UTC))

    assert pull(source, now=datetime(2026, 10, 5, 23, 59, tzinfo=UTC)) == []
    assert len(pull(source, now=datetime(2026, 10, 6, 0, 0, tzinfo=UTC))) == 1


def test_a_day_is_read_once_until_it_is_restated(warehouse, source):
    warehouse.add("2026-10-05", (5001, "ST", 70), (5002, "ST", 80))
    warehouse.complete("2026-10-05")
    pull(source)
    assert pull(source) == []

    warehouse.change("2026-10-05", 5001, "ST", 65)
    warehouse.complete("2026-10-05", at=RELOADED)
    [result] = pull(source)

    assert (result.restated, result.unchanged, result.created) == (1, 1, 0)
    assert held() == [(5001, "ST", 0, 70), (5002, "ST", 0, 80), (5001, "ST", 1, 65)]
    record = UsageRecord.objects.get(revision=1)
    assert record.delta == -5
    assert record.reason == "restated in the warehouse, loaded 2026-11-02T05:30:00Z"


def test_a_restatement_that_the_log_was_not_told_of_is_found(warehouse, source):
    warehouse.add("2026-10-05", (5001, "ST", 70))
    warehouse.complete("2026-10-05")
    pull(source)

    warehouse.change("2026-10-05", 5001, "ST", 71)
    assert [result.restated for result in pull(source)] == [1]


def test_a_row_that_is_gone_becomes_zero(warehouse, source):
    warehouse.add("2026-10-05", (5001, "ST", 70), (5002, "ST", 80))
    warehouse.complete("2026-10-05")
    pull(source)

    warehouse.remove("2026-10-05", 5002)
    [result] = pull(source)

    assert (result.state, result.restated) == ("done", 1)
    assert held()[-1] == (5002, "ST", 1, 0)


def test_a_day_that_lost_all_rows_is_not_believed(warehouse, source):
    warehouse.add("2026-10-05", (5001, "ST", 70))
    warehouse.complete("2026-10-05")
    pull(source)

    warehouse.remove("2026-10-05")
    [result] = pull(source)

    assert result.state == "failed"
    assert held() == [(5001, "ST", 0, 70)]
    assert Alert.objects.get(name="usage_day_refused").subject == "redshift 2026-10-05"

    warehouse.add("2026-10-05", (5001, "ST", 70))
    assert [result.state for result in pull(source)] == ["done"]
    assert Alert.objects.get(name="usage_day_refused").status == "resolved"


def test_what_somebody_else_stated_is_not_overruled_without_a_reason(warehouse, source):
    warehouse.add("2026-10-05", (5001, "ST", 70), (5002, "ST", 80))
    warehouse.complete("2026-10-05")
    pull(source)
    correction = make_input(5001, "2026-10-05", "ST", 60, reason="bot traffic")
    store_usage(records=[correction], author="key:ops", now=NOW)

    warehouse.change("2026-10-05", 5002, "ST", 81)
    [result] = pull(source)
    assert (result.state, result.restated, result.refused) == ("partial", 1, 1)
    assert result.reasons == [
        "account 5001 ST: 60 is held and 70 was given: a restatement needs a reason",
    ]
    assert get_usage_totals(5001, OCTOBER)["ST"] == 60

    [result] = pull(source, reason="the warehouse has it right")
    assert (result.state, result.restated) == ("done", 1)
    assert get_usage_totals(5001, OCTOBER)["ST"] == 70


def test_bad_rows_are_named_and_the_others_taken(warehouse, source):
    warehouse.add(
        "2026-10-05",
        *[(5001, "ST", 70), (5001, "XX", 5), (5002, "ST", -1), (5002, "RM", 3), (5002, "RM", 3)],
        *[(9999, "ST", 12), (9998, "ST", 0)],
    )
    warehouse.complete("2026-10-05")

    [result] = pull(source)

    assert held() == [(5001, "ST", 0, 70)]
    assert (result.state, result.rows, result.refused) == ("partial", 7, 4)
    assert sorted(result.reasons) == [
        "account 5001 XX: usage_type must be one of ST, RM, CV",
        "account 5002 RM: stands 2 times in the source",
        "account 5002 ST: quantity must not be negative",
        "account 9999 ST: there is no account 9999",
    ]
    AccountFactory.create(id=9999)
    pull(source)
    assert get_usage_totals(9999, OCTOBER)["ST"] == 12


def test_a_pull_that_broke_off_goes_on(warehouse, source, monkeypatch):
    for day in ("2026-10-05", "2026-10-06", "2026-10-07"):
        warehouse.add(day, (5001, "ST", 70))
        warehouse.complete(day)
    results = run_pull(plan=plan_pull(source=source, period=OCTOBER, now=NOW), clock=lambda: NOW)
    next(results)

    def die(**_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("metering.pulling.services.store_usage", die)
        with pytest.raises(KeyboardInterrupt):
            next(results)

    assert list(UsagePull.objects.order_by("day").values_list("state", flat=True)) == ["done", "failed"]
    assert [result.created for result in pull(source)] == [1, 1]
    assert get_usage_totals(5001, OCTOBER)["ST"] == 210


def test_more_rows_than_one_fetch(warehouse, source):
    AccountFactory.create_batch(1100)
    numbers = [account.pk for account in AccountFactory._meta.model.objects.order_by("pk")]
    warehouse.add("2026-10-05", *((number, kind, number) for number in numbers for kind in ("RM", "ST")))
    warehouse.complete("2026-10-05")

    [result] = pull(source)

    assert (result.state, result.rows, result.created) == ("done", 2204, 2204)
    assert UsageRecord.objects.filter(usage_type="RM").count() == 1102


def test_a_day_is_read_as_of_one_moment(warehouse, source):
    warehouse.add("2026-10-05", (5001, "ST", 70), (5002, "ST", 80))
    warehouse.complete("2026-10-05")
    with source.open_day(date(2026, 10, 5)) as reading:
        warehouse.change("2026-10-05", 5002, "ST", 90)
        assert [row.quantity for row in reading.rows] == [70, 80]
    with source.open_day(date(2026, 10, 6)) as reading:
        assert reading is None


def test_the_transaction_is_read_only(source):
    with source._reading() as cursor, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        cursor.execute("DELETE FROM impressions_daily")


def test_a_slow_statement_is_given_up(warehouse):
    with (
        RedshiftSource(warehouse.url, statement_timeout=timedelta(milliseconds=500)) as source,
        pytest.raises(WarehouseUnavailable, match="statement timeout"),
        source._reading() as cursor,
    ):
        cursor.execute("SELECT pg_sleep(60)")


def test_redshifts_own_scheme_is_understood(warehouse):
    with RedshiftSource(warehouse.url.replace("postgresql://", "redshift://")) as source:
        assert source.list_days(OCTOBER) == []
        assert source.get_first_day() is None


class TestScheduled:
    """`metering.pull_usage` on 3 November, and the command."""

    @pytest.fixture(autouse=True)
    def environment(self, settings, warehouse, monkeypatch, time_machine_now):
        settings.ENV = settings.ENV.model_copy(update={"REDSHIFT_DATABASE_URL": warehouse.url})
        self.kicks: list[str] = []
        monkeypatch.setattr(tasks, "send_kick", self.kicks.append)

    @pytest.fixture
    def time_machine_now(self):
        import time_machine

        with time_machine.travel(NOW, tick=False):
            yield

    def test_an_overdue_day_is_an_alert_until_it_comes(self, warehouse):
        days = [day.isoformat() for day in OCTOBER.iter_days()]
        for day in days[9:]:
            warehouse.add(day, (5001, "ST", 10))
            warehouse.complete(day)
        warehouse.complete("2026-11-01", "2026-11-02")
        warehouse.remove("2026-10-20")
        warehouse.connection.execute("DELETE FROM impressions_load_log WHERE day = '2026-10-20'")

        counts = tasks.pull_usage()

        assert counts == {"days": 23, "created": 21, "restated": 0, "refused": 0, "overdue": 1}
        assert self.kicks == ["metering.roll_up_usage"]
        alert = Alert.objects.get(name="usage_day_overdue")
        assert (alert.subject, alert.status) == ("redshift 2026-10-20", "open")
        assert "2026-10-20 ended 324 hours ago" in alert.detail

        warehouse.add("2026-10-20", (5001, "ST", 10))
        warehouse.complete("2026-10-20")
        assert tasks.pull_usage()["created"] == 1
        alert.refresh_from_db()
        assert alert.status == "resolved"
        assert get_usage_totals(5001, OCTOBER)["ST"] == 220

    def test_a_warehouse_that_is_down_is_an_alert_until_it_answers(self, settings, warehouse):
        address = settings.ENV.REDSHIFT_DATABASE_URL
        settings.ENV = settings.ENV.model_copy(
            update={"REDSHIFT_DATABASE_URL": "postgresql://someone:hunter2@127.0.0.1:9/nothing"}
        )
        tasks.pull_usage()
        alert = Alert.objects.get(name="usage_pull_failed")
        assert "REDSHIFT_DATABASE_URL" in alert.detail
        assert "hunter2" not in alert.detail

        settings.ENV = settings.ENV.model_copy(update={"REDSHIFT_DATABASE_URL": address})
        warehouse.complete("2026-11-02")
        tasks.pull_usage()
        alert.refresh_from_db()
        assert alert.status == "resolved"

    def test_without_a_warehouse_there_is_nothing_to_do(self, settings):
        settings.ENV = settings.ENV.model_copy(update={"REDSHIFT_DATABASE_URL": None})
        assert tasks.pull_usage() == {}
        with pytest.raises(CommandError, match="set REDSHIFT_DATABASE_URL"):
            call_command("pull_usage", period="2026-10")

    def test_the_command_tells_what_it_did(self, warehouse, capsys):
        warehouse.add("2026-10-30", (5001, "ST", 70), (7777, "ST", 5))
        warehouse.complete("2026-10-30")
        with pytest.raises(CommandError, match="1 day\\(s\\) are not wholly in") as refusal:
            call_command("pull_usage", period="2026-10")
        assert refusal.value.returncode == 1
        assert capsys.readouterr().out.splitlines() == [
            "redshift 2026-10: 1 days read, 0 held as they are; 2 rows: 1 created, 0 restated, 0 unchanged, 1 refused",
            "  1 days are overdue",
            "  2026-10-30: account 7777 ST: there is no account 7777",
        ]
        warehouse.remove("2026-10-30", 7777)
        warehouse.complete("2026-10-31")
        call_command("pull_usage", period="2026-10")
        assert capsys.readouterr().out.splitlines() == [
            "redshift 2026-10: 2 days read, 0 held as they are; 1 rows: 0 created, 0 restated, 1 unchanged, 0 refused",
        ]
