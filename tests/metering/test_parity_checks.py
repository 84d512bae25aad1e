from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command

from billing_worker.alerts.models import Alert
from billing_worker.alerts.states import AlertStatus
from metering.models import ParityCheck, ParityResult
from metering.parity import tasks
from metering.parity.comparison import Tolerances
from metering.parity.selectors import get_clean_streak, get_quantities
from metering.parity.services import run_check, run_scheduled_checks
from metering.parity.sources import DailyParitySource, OtherSideUnavailable
from metering.parity.windows import Window
from metering.pulling.redshift import RedshiftSource
from metering.services.ingest import store_usage
from tests.factories import AccountFactory
from tests.metering.factories import NOW, make_input
from tests.metering.warehouse import warehouse as warehouse

pytestmark = pytest.mark.django_db
DAY = Window.of_day(date(2026, 10, 5))
HOUR = timedelta(hours=1)


class OtherSide:
    """The other side, as tests want it to be."""

    name = "http"
    is_hourly = True

    def __init__(self, **figures):
        self.figures = figures
        self.trouble = ""
        self.asked = []

    def read(self, window):
        self.asked.append(window)
        if self.trouble:
            raise OtherSideUnavailable(self.trouble)
        return {(5001, meter): Decimal(value) for meter, value in self.figures.items()}


@pytest.fixture(autouse=True)
def usage():
    for number in (5001, 5002):
        AccountFactory.create(id=number)
    state((5001, "2026-10-05", "ST", 70))


def state(*records):
    for record in records:
        [outcome] = store_usage(records=[make_input(*record)], author="test", now=NOW)
        assert not outcome.is_refused


def check(source, window=DAY, *, now=NOW, is_scheduled=False):
    return run_check(
        source=source, window=window, tolerances=Tolerances(), now=now, is_scheduled=is_scheduled
    )


def list_open_alerts():
    return sorted(Alert.objects.filter(status=AlertStatus.OPEN).values_list("name", flat=True))


def test_quantities_are_the_ones_in_force_of_days_that_begin_in_the_window():
    state(
        (5001, "2026-10-05", "ST", 65, "counted again"),
        (5001, "2026-10-04", "ST", 1000),
        (5001, "2026-10-06", "ST", 2000),
        (5002, "2026-10-05", "CV", 0),
        (5002, "2026-11-01", "RM", 8),
    )

    assert get_quantities(DAY) == {(5001, "ST"): 65, (5002, "CV"): 0}
    assert get_quantities(Window.parse("2026-10-04T01:00:00Z", "2026-10-06T01:00:00Z")) == {
        (5001, "ST"): 2065,
        (5002, "CV"): 0,
    }
    assert get_quantities(Window.parse("2026-10-06", "2026-11-02")) == {(5001, "ST"): 2000, (5002, "RM"): 8}


def test_a_months_total_counts_where_the_month_begins():
    state((5002, "2026-09", "ST", 500))

    assert get_quantities(Window.of_day(date(2026, 9, 1))) == {(5002, "ST"): 500}
    assert get_quantities(Window.of_day(date(2026, 9, 2))) == {}


def test_a_clean_check_keeps_its_totals():
    made = check(OtherSide(ST=70))

    assert (made.state, made.compared, made.breaches) == ("clean", 1, 0)
    [total] = ParityResult.objects.filter(parity_check=made)
    assert total.account_id is None
    assert (total.meter, total.ours, total.theirs) == ("ST", Decimal(70), Decimal(70))
    assert list_open_alerts() == []


def test_a_breach_is_kept_alerted_once_and_resolved_when_clean():
    source = OtherSide(ST=71, RM=4)
    made = check(source)
    check(source)

    assert (made.state, made.breaches) == ("breach", 4)
    rows = made.results.filter(account_id=5001).values_list("meter", "ours", "theirs", "gross_difference")
    assert sorted(rows) == [("RM", 0, 4, 4), ("ST", 70, 71, 1)]
    assert list_open_alerts() == ["usage_parity_breach"]
    assert "account 5001 RM: ours 0, theirs 4, apart by 4" in Alert.objects.get().detail

    source.figures = {"ST": 70}
    assert check(source).state == "clean"
    assert list_open_alerts() == []


def test_a_failure_is_kept_and_leaves_a_breach_open():
    source = OtherSide(ST=71)
    check(source)
    source.trouble = "they sleep"
    made = check(source)

    assert (made.state, made.detail, made.results.count()) == ("failed", "they sleep", 0)
    assert list_open_alerts() == ["usage_parity_breach", "usage_parity_failed"]

    source.trouble, source.figures = "", {"ST": 70}
    check(source)
    assert list_open_alerts() == []


def test_nothing_on_either_side_proves_nothing():
    assert check(OtherSide(), Window.of_day(date(2026, 10, 9))).state == "empty"
    assert check(OtherSide(ST=0), Window.of_day(date(2026, 10, 9))).state == "empty"


def run(source, now, window=DAY):
    return [
        (made.window_start_at.day, made.state)
        for made in run_scheduled_checks(source=source, settled=[window], tolerances=Tolerances(), now=now)
    ]


def test_a_window_that_did_not_agree_is_looked_at_until_it_does():
    source = OtherSide(ST=71)
    assert run(source, NOW) == [(5, "breach")]

    state((5001, "2026-10-06", "ST", 71))
    sixth = Window.of_day(date(2026, 10, 6))
    assert run(source, NOW + HOUR, sixth) == [(5, "breach"), (6, "clean")]

    state((5001, "2026-10-05", "ST", 71, "a late row"))
    assert run(source, NOW + 2 * HOUR, sixth) == [(5, "clean"), (6, "clean")]
    assert run(source, NOW + 3 * HOUR, sixth) == [(6, "clean")]
    assert list_open_alerts() == []


def test_hours_are_counted_from_the_first_to_the_last_clean_check():
    source = OtherSide(ST=70)
    for hour in range(4):
        run(source, NOW + hour * HOUR)

    streak = get_clean_streak(now=NOW + 3 * HOUR)
    assert (streak.hours, streak.checks, streak.since) == (3, 4, NOW)
    assert get_clean_streak(now=NOW + 3 * HOUR, source="redshift").hours == 0


def test_a_breach_or_a_failure_begins_the_hours_anew():
    source = OtherSide(ST=70)
    run(source, NOW)
    run(source, NOW + HOUR)
    source.trouble = "they sleep"
    run(source, NOW + 2 * HOUR)
    source.trouble = ""
    assert get_clean_streak(now=NOW + 2 * HOUR).checks == 0

    run(source, NOW + 3 * HOUR)
    run(source, NOW + 4 * HOUR)
    assert get_clean_streak(now=NOW + 4 * HOUR).hours == 1


def test_one_unclean_window_in_a_run_spoils_the_run():
    source = OtherSide(ST=71)
    run(source, NOW)
    state((5001, "2026-10-06", "ST", 71))
    run(source, NOW + HOUR, Window.of_day(date(2026, 10, 6)))

    assert get_clean_streak(now=NOW + HOUR).checks == 0


def test_silence_ends_the_hours():
    source = OtherSide(ST=70)
    for at in (NOW - 9 * HOUR, NOW, NOW + HOUR):
        run(source, at)

    assert get_clean_streak(now=NOW + HOUR).hours == 1
    assert get_clean_streak(now=NOW + 3 * HOUR).hours == 1
    assert get_clean_streak(now=NOW + 3 * HOUR + timedelta(seconds=1)).hours == 0


def test_a_check_by_hand_does_not_count_for_the_hours():
    check(OtherSide(ST=70))
    check(OtherSide(ST=70), now=NOW + HOUR)

    assert get_clean_streak(now=NOW + HOUR).checks == 0


def test_the_command_compares_with_a_file(tmp_path, capsys):
    file = tmp_path / "theirs.csv"
    file.write_text(
        "acct_id,day,usage_type,impressions\n5001,2026-10-05,ST,70\n5001,2026-10-06,ST,5\n", encoding="utf-8"
    )

    call_command("usage_parity", "--from", "2026-10-05", "--to", "2026-10-06", "--file", str(file))
    assert "1 figures compared" in capsys.readouterr().out

    with pytest.raises(CommandError, match="2 figure") as refusal:
        call_command("usage_parity", "--from", "2026-10-05", "--to", "2026-10-07", "--file", str(file))
    assert refusal.value.returncode == 1
    assert "account 5001 ST: ours 70, theirs 75, apart by 5 (tolerance 0 %)" in capsys.readouterr().out
    assert list(ParityCheck.objects.order_by("pk").values_list("source", "state")) == [
        ("csv", "clean"),
        ("csv", "breach"),
    ]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--from", "2026-10-05", "--to", "2026-10-06"], "no other side"),
        (["--from", "2026-10-05", "--to", "2026-10-06", "--source", "csv"], "needs --file"),
        (["--from", "2026-10-05", "--to", "2026-10-06", "--source", "http"], "PARITY_URL"),
        (["--from", "2026-10-05", "--to", "2026-10-06", "--source", "redshift"], "REDSHIFT_DATABASE_URL"),
        (["--from", "2026-10-05", "--to", "2026-10-06", "--source", "http", "--file", "x"], "belongs to"),
        (["--from", "2026-09-30", "--to", "2026-10-06", "--file", "x"], "one month"),
        (["--from", "2026-10-06", "--to", "2026-10-05", "--file", "x"], "after"),
    ],
)
def test_the_command_refuses_what_it_cannot_compare(options, reason):
    with pytest.raises(CommandError, match=reason) as refusal:
        call_command("usage_parity", *options)
    assert refusal.value.returncode == 2
    assert not ParityCheck.objects.exists()


@pytest.mark.postgresql
def test_the_warehouse_is_the_other_side(warehouse):
    warehouse.add("2026-10-05", (5001, "ST", 60), (5001, "ST", 10), (5999, "RM", 1))
    with RedshiftSource(warehouse.url) as opened:
        source = DailyParitySource(opened)
        made = check(source)
        assert (made.state, made.detail) == ("failed", "redshift does not call 2026-10-05 complete yet")

        warehouse.complete("2026-10-05")
        made = check(source)
    assert made.state == "breach"
    assert list(made.results.filter(account_id__isnull=False).values_list("account_id", "theirs")) == [
        (5999, 1)
    ]


def test_without_a_source_the_task_does_nothing():
    assert tasks.check_parity() == {}
    assert not ParityCheck.objects.exists()


@pytest.mark.postgresql
def test_the_task_checks_the_last_settled_day(warehouse, settings, monkeypatch):
    settings.ENV = settings.ENV.model_copy(
        update={"PARITY_SOURCE": "redshift", "REDSHIFT_DATABASE_URL": warehouse.url}
    )
    monkeypatch.setattr("django.utils.timezone.now", lambda: datetime(2026, 10, 6, 12, 50, tzinfo=UTC))
    warehouse.add("2026-10-05", (5001, "ST", 70))
    warehouse.complete("2026-10-05")

    assert tasks.check_parity() == {"clean": 1}
    made = ParityCheck.objects.get()
    assert (made.is_scheduled, made.window_start_at) == (True, datetime(2026, 10, 5, tzinfo=UTC))
