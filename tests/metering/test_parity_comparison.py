from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from json import dumps

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_worker.core.errors import InvalidInput
from metering.parity.answers import UnusableAnswer, build_answer, parse_answer
from metering.parity.comparison import Tolerance, Tolerances, compare_quantities
from metering.parity.windows import Window, get_settled_window

EXACT = Tolerances()
DAY = Window.of_day(date(2026, 10, 5))


def quantities(**figures: int | str) -> dict[tuple[int, str], Decimal]:
    """`ST_5001=70`: 70 of ST for account 5001."""
    return {
        (int(account), meter): Decimal(value)
        for name, value in figures.items()
        for meter, _, account in [name.rpartition("_")]
    }


def compare(ours, theirs, tolerances=EXACT):
    return compare_quantities(ours=ours, theirs=theirs, tolerances=tolerances)


def breached(comparison):
    return [(result.account_id, result.meter, result.gross_difference) for result in comparison.breaches]


def test_equal_sides_are_clean_and_zero_is_the_same_as_none():
    comparison = compare(quantities(ST_5001=70, RM_5001=0), quantities(ST_5001=70, CV_5002=0))

    assert comparison.breaches == ()
    assert comparison.accounts == ()
    assert comparison.compared == 1
    assert [(total.ours, total.theirs) for total in comparison.totals] == [(70, 70)]


def test_one_impression_is_a_breach():
    comparison = compare(quantities(ST_5001=70), quantities(ST_5001=71))

    assert breached(comparison) == [(None, "ST", 1), (5001, "ST", 1)]


def test_each_side_may_hold_what_the_other_lacks():
    comparison = compare(quantities(ST_5001=70), quantities(ST_5002=9))

    assert breached(comparison) == [(None, "ST", 79), (5001, "ST", 70), (5002, "ST", 9)]


def test_opposite_errors_do_not_make_each_other_good():
    comparison = compare(quantities(ST_5001=60, ST_5002=80), quantities(ST_5001=70, ST_5002=70))

    [total] = comparison.totals
    assert (total.ours, total.theirs, total.gross_difference, total.is_breach) == (140, 140, 20, True)


def test_small_differences_within_each_account_may_be_too_much_in_total():
    tolerances = Tolerances.parse(["gb_seconds=1/0.5"])
    ours = quantities(gb_seconds_5001=991, gb_seconds_5002=1000)
    theirs = quantities(gb_seconds_5001=1000, gb_seconds_5002=991)

    comparison = compare(ours, theirs, tolerances)

    assert [result.is_breach for result in comparison.accounts] == [False, False]
    assert breached(comparison) == [(None, "gb_seconds", 18)]


@pytest.mark.parametrize(("theirs", "is_breach"), [("99.5", False), ("99.499999", True)])
def test_exactly_the_tolerance_is_within(theirs, is_breach):
    comparison = compare(quantities(gb_5001=100), quantities(gb_5001=theirs), Tolerances.parse(["gb=0.5"]))

    assert bool(comparison.breaches) is is_breach


def test_something_against_nothing_is_never_within():
    comparison = compare(quantities(gb_5001="0.000001"), {}, Tolerances({"gb": Tolerance(each=Decimal(99))}))

    assert (5001, "gb", Decimal("0.000001")) in breached(comparison)


@pytest.mark.parametrize(
    "text", ["gb", "gb=", "gb=-1", "gb=100", "gb=1e1", "gb=nan", "gb=1/", "gb=٣", "g b=1", ""]
)
def test_what_is_no_tolerance_is_refused(text):
    with pytest.raises(InvalidInput):
        Tolerances.parse([text])


def test_a_tolerance_is_given_once():
    with pytest.raises(InvalidInput):
        Tolerances.parse(["gb=1", "gb=2"])


SIDES = st.dictionaries(
    st.tuples(st.integers(1, 4), st.sampled_from(["ST", "RM"])),
    st.integers(0, 10**15).map(Decimal),
    max_size=6,
)


@given(SIDES, SIDES)
def test_clean_means_that_every_figure_is_the_same(ours, theirs):
    some_ours = {key: value for key, value in ours.items() if value}
    some_theirs = {key: value for key, value in theirs.items() if value}

    comparison = compare(ours, theirs)

    assert (not comparison.breaches) == (some_ours == some_theirs)
    assert breached(compare(theirs, ours)) == breached(comparison)


@given(SIDES)
def test_an_answer_says_what_was_asked(side):
    assert parse_answer(dumps(build_answer(DAY, side)).encode(), window=DAY) == side


def test_fractions_travel_as_text():
    answer = build_answer(DAY, quantities(gb_5001="1.500000", ST_5001="70"))

    assert answer["accounts"] == [{"account_id": 5001, "quantities": {"ST": 70, "gb": "1.500000"}}]


@pytest.mark.parametrize(
    ("accounts", "reason"),
    [
        ('{"account_id": 5001, "quantities": {"ST": -1}}', "no usable quantity"),
        ('{"account_id": 5001, "quantities": {"ST": true}}', "no usable quantity"),
        ('{"account_id": 5001, "quantities": {"ST": 1e400}}', "no usable quantity"),
        ('{"account_id": 5001, "quantities": {"ST": 9999999999999999999}}', "no usable quantity"),
        ('{"account_id": 5001, "quantities": {"ST": "٣"}}', "no usable quantity"),
        ('{"account_id": 5001, "quantities": {"S T": 1}}', "no usable quantity"),
        ('{"account_id": "5001", "quantities": {}}', "entry 0"),
        ('{"account_id": 0, "quantities": {}}', "entry 0"),
        ('{"account_id": 5001}', "entry 0"),
        ("[]", "entry 0"),
        ('{"account_id": 1, "quantities": {}}, {"account_id": 1, "quantities": {"ST": 1}}', "twice"),
        ('{"account_id": 1, "quantities": {"ST": NaN}}', "not JSON"),
    ],
)
def test_an_answer_without_sense_is_refused(accounts, reason):
    text = f'{{"from": "2026-10-05T00:00:00Z", "to": "2026-10-06T00:00:00Z", "accounts": [{accounts}]}}'

    with pytest.raises(UnusableAnswer, match=reason):
        parse_answer(text.encode(), window=DAY)


def test_an_answer_about_another_window_is_refused():
    other = Window.of_day(date(2026, 10, 6))

    with pytest.raises(UnusableAnswer, match="another window"):
        parse_answer(
            b'{"from": "2026-10-05T00:00:00Z", "to": "2026-10-06T00:00:00Z", "accounts": []}', window=other
        )


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("2026-10-05", "2026-10-06", date(2026, 10, 5), date(2026, 10, 5)),
        ("2026-10-05T00:00:00Z", "2026-10-06T01:00:00Z", date(2026, 10, 5), date(2026, 10, 6)),
        ("2026-10-05T01:00:00Z", "2026-10-07T00:00Z", date(2026, 10, 6), date(2026, 10, 6)),
        ("2026-10-05T02:00:00+02:00", "2026-10-06", date(2026, 10, 5), date(2026, 10, 5)),
    ],
)
def test_a_day_counts_where_it_begins(start, end, first, last):
    days = list(Window.parse(start, end).iter_days())

    assert (days[0], days[-1]) == (first, last)


def test_a_window_may_hold_no_beginning_of_a_day():
    assert list(Window.parse("2026-10-05T01:00:00Z", "2026-10-05T02:00:00Z").iter_days()) == []


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-10-05", "2026-10-05"),
        ("2026-10-06", "2026-10-05"),
        ("2026-10-05", "2026-12-07"),
        ("2026-10-05T00:30:00Z", "2026-10-06"),
        ("2026-10-05T00:00:00", "2026-10-06"),
        ("2026-13-05", "2026-14-06"),
        ("1999-12-31", "2000-01-02"),
        ("0001-01-01T00:00:00+14:00", "2000-01-01"),
        ("٢٠٢٦-10-05", "2026-10-06"),
        ("", ""),
    ],
)
def test_what_is_no_window_is_refused(start, end):
    with pytest.raises(InvalidInput):
        Window.parse(start, end)


def test_a_day_is_settled_some_hours_after_its_end():
    noon = datetime(2026, 10, 6, 12, tzinfo=UTC)

    assert get_settled_window(noon, timedelta(hours=12)) == DAY
    assert get_settled_window(noon - timedelta(seconds=1), timedelta(hours=12)).start_date == date(
        2026, 10, 4
    )
