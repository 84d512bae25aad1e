from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period, to_utc


@pytest.mark.parametrize(
    ("text", "days", "end"),
    [
        ("2026-02", 28, date(2026, 3, 1)), ("2028-02", 29, date(2028, 3, 1)), ("2000-02", 29, date(2000, 3, 1)),
        ("2100-02", 28, date(2100, 3, 1)), ("2026-12", 31, date(2027, 1, 1)), ("2026-10", 31, date(2026, 11, 1)),
    ],
)  # fmt: skip
def test_month_ends(text, days, end):
    period = Period.parse(text)
    assert (period.days, period.end_date, str(period)) == (days, end, text)
    assert len(list(period.iter_days())) == days


@pytest.mark.parametrize(
    "text",
    ["", "2026", "2026-1", "2026-13", "2026-00", "26-10", "2026-10 ", " 2026-10", "2026-10\n", "٢٠٢٦-10",
     "2026/10", "1999-12", "9999-01"],
)  # fmt: skip
def test_anything_else_is_not_a_month(text):
    with pytest.raises(InvalidInput):
        Period.parse(text)


def test_periods_are_half_open():
    october = Period(2026, 10)
    assert october.contains(datetime(2026, 10, 1, tzinfo=UTC))
    assert october.contains(datetime(2026, 10, 31, 23, 59, 59, 999999, tzinfo=UTC))
    assert not october.contains(datetime(2026, 11, 1, tzinfo=UTC))
    assert not october.contains(date(2026, 9, 30))


def test_an_instant_belongs_to_its_month_in_utc():
    tokyo = timezone(timedelta(hours=9))
    assert Period.of(datetime(2026, 11, 1, 8, 59, tzinfo=tokyo)) == Period(2026, 10)
    assert Period.of(datetime(2026, 11, 1, 9, 0, tzinfo=tokyo)) == Period(2026, 11)


def test_naive_times_are_refused():
    with pytest.raises(ValueError, match="naive"):
        to_utc(datetime(2026, 10, 1))  # noqa: DTZ001


@given(st.integers(2001, 9997), st.integers(1, 12))
def test_next_and_previous_undo_each_other(year, month):
    period = Period(year, month)
    assert period.next().previous() == period == period.previous().next()
    assert period.next() > period > period.previous()
    assert period.end_at == period.next().start_at
