from __future__ import annotations

from datetime import date

import pytest
import time_machine
from django.core.management import CommandError, call_command

from billing_worker.core.periods import Period
from metering.models import UsageRecord
from metering.pulling.csv_file import CsvSource, UnusableFile
from metering.pulling.models import UsagePull
from metering.selectors import get_usage_totals
from tests.factories import AccountFactory
from tests.metering.factories import NOW

pytestmark = pytest.mark.django_db
OCTOBER = Period(2026, 10)
HEADER = "account_id,period,usage_type,quantity"


@pytest.fixture(autouse=True)
def in_november():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def write(tmp_path):
    def write(*lines, name="usage.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding=encoding)
        return path

    return write


def read_problems(path):
    with pytest.raises(UnusableFile) as refusal:
        CsvSource(path, period=OCTOBER, today=NOW.date())
    return [line.strip() for line in str(refusal.value).splitlines()[1:]]


def test_a_file_is_pulled_and_pulled_again(write, capsys):
    AccountFactory.create(id=5001)
    path = write(HEADER, "5001,2026-10-05,ST,70", "", "5001,2026-10-06,RM,0")
    call_command("pull_usage", period="2026-10", file=path)
    call_command("pull_usage", period="2026-10", file=path)

    assert get_usage_totals(5001, OCTOBER) == {"ST": 70, "RM": 0, "CV": 0}
    assert set(UsageRecord.objects.values_list("author", flat=True)) == {"pull:csv"}
    assert capsys.readouterr().out.splitlines() == [
        "csv 2026-10: 2 days read, 0 held as they are; 2 rows: 2 created, 0 restated, 0 unchanged, 0 refused",
        "csv 2026-10: 0 days read, 2 held as they are; 0 rows: 0 created, 0 restated, 0 unchanged, 0 refused",
    ]


def test_a_corrected_file_restates_and_leaves_what_it_does_not_name(write):
    AccountFactory.create(id=5001)
    call_command(
        "pull_usage",
        period="2026-10",
        file=write(HEADER, "5001,2026-10-05,ST,70", "5001,2026-10-05,RM,5"),
    )
    call_command("pull_usage", period="2026-10", file=write(HEADER, "5001,2026-10-05,ST,65", name="fix.csv"))

    record = UsageRecord.objects.get(revision=1)
    assert (record.usage_type, record.quantity, record.reason) == ("ST", 65, "restated by fix.csv")
    assert get_usage_totals(5001, OCTOBER) == {"ST": 65, "RM": 5, "CV": 0}


def test_the_warehouses_own_header_and_a_reason(write):
    AccountFactory.create(id=5001)
    call_command("pull_usage", period="2026-10", file=write(HEADER, "5001,2026-10-05,ST,70"))
    path = write(
        "\ufeffday,acct_id,impressions,usage_type,reason", '2026-10-05,5001,60,ST,"bots, counted twice"'
    )
    call_command("pull_usage", period="2026-10", file=path)
    assert UsageRecord.objects.get(revision=1).reason == "bots, counted twice"


def test_every_wrong_line_is_named_and_nothing_stored(write):
    AccountFactory.create(id=5001)
    path = write(
        HEADER,
        "5001,2026-10-05,ST,70",
        "5001,2026-10-05,XX,1.5",
        "abc,2026-10-32,ST,-4",
        "5001,2026-10,ST,5",
        "5001,2026-11-01,ST,5",
        "5001,2026-11-03,ST,5",
        "5001,2026-10-05,ST,71",
        "5001,2026-10-05,ST",
        "5001,2026-10-07,ST,\u0661",
    )
    assert read_problems(path) == [
        "line 3: quantity must be a whole number, usage_type must be one of ST, RM, CV",
        (
            "line 4: account_id must be an account's number, period must be a month like 2026-10 or a day like"
            " 2026-10-05, quantity must be a whole number"
        ),
        "line 5: is of a month: a pull takes days like 2026-10-05",
        "line 6: is of 2026-11-01, which is not in 2026-10",
        "line 7: is of 2026-11-03, which is not over yet",
        "line 8: says again what line 2 says",
        "line 9: has 3 where the header has 4 columns",
        "line 10: quantity must be a whole number",
    ]
    with pytest.raises(CommandError, match="8 problem") as refusal:
        call_command("pull_usage", period="2026-10", file=path)
    assert refusal.value.returncode == 2
    assert not UsageRecord.objects.exists()
    assert not UsagePull.objects.exists()


def test_lines_are_counted_as_an_editor_counts_them(write):
    path = write(HEADER + ",reason", '5001,2026-10-05,ST,70,"two\nlines"', "5001,2026-10-06,ST,x,")
    assert read_problems(path) == [
        "line 3: reason must be plain text without control characters",
        "line 4: quantity must be a whole number",
    ]


def test_a_long_list_of_problems_is_cut(write):
    problems = read_problems(write(HEADER, *["5001,2026-10-05,ST,x"] * 30))
    assert (len(problems), problems[-1]) == (21, "and 10 more")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "line 1 must name the columns"),
        (["account,period,usage_type,quantity"], "line 1 must name the columns"),
        ([HEADER + ",quantity"], "line 1 must name the columns"),
        ([HEADER, '5001,2026-10-05,ST,"70'], "is not a CSV file"),
    ],
)
def test_a_file_that_is_something_else(write, lines, message):
    with pytest.raises(UnusableFile, match=message):
        CsvSource(write(*lines), period=OCTOBER, today=NOW.date())


def test_a_file_that_can_not_be_read(write, tmp_path):
    with pytest.raises(UnusableFile, match="No such file"):
        CsvSource(tmp_path / "missing.csv", period=OCTOBER, today=NOW.date())
    with pytest.raises(UnusableFile, match="is not UTF-8"):
        CsvSource(
            write(HEADER + ",ä", encoding="latin-1"),
            period=OCTOBER,
            today=NOW.date(),
        )


def test_an_unknown_account_is_refused_by_its_line(write, capsys):
    path = write(HEADER, "5001,2026-10-05,ST,70", "404,2026-10-05,ST,70")
    AccountFactory.create(id=5001)
    with pytest.raises(CommandError, match="not wholly in"):
        call_command("pull_usage", period="2026-10", file=path)
    assert "  2026-10-05: line 3: there is no account 404" in capsys.readouterr().out
    assert get_usage_totals(5001, OCTOBER)["ST"] == 70


def test_a_file_knows_its_days(write):
    source = CsvSource(
        write(HEADER, "5001,2026-10-07,ST,70", "5001,2026-10-05,ST,70"), period=OCTOBER, today=NOW.date()
    )
    assert [said.day for said in source.list_days(OCTOBER)] == [date(2026, 10, 5), date(2026, 10, 7)]
    assert source.get_first_day() == date(2026, 10, 5)
    with source.open_day(date(2026, 10, 6)) as reading:
        assert reading is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "csv"}, "needs --file"),
        ({"source": "redshift", "file": "usage.csv"}, "belongs to --source csv"),
        ({"reason": "two\nlines"}, "one line of at most 500"),
    ],
)
def test_options_that_contradict_each_other(options, message):
    with pytest.raises(CommandError, match=message):
        call_command("pull_usage", period="2026-10", **options)
