from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from billing_worker.core.errors import InvalidInput
from metering.parsing import parse_record
from metering.states import Granularity

GOOD = {"account_id": 5001, "period": "2026-10-05", "usage_type": "ST", "quantity": 10}
TODAY = date(2026, 11, 3)
BAD_QUANTITIES: list[object] = [-1, True, "5", "٥", None, [], {}, Decimal("5.0"), Decimal("1E+400")]


def test_a_day_is_taken_as_stated():
    record = parse_record(GOOD, today=TODAY)

    assert record.granularity is Granularity.DAY
    assert (record.period, record.bucket_date, record.text_key) == (
        "2026-10",
        date(2026, 10, 5),
        "5001:2026-10-05:ST",
    )


def test_a_month_is_kept_under_its_first_day():
    record = parse_record(GOOD | {"period": "2026-10"}, today=TODAY)

    assert record.granularity is Granularity.MONTH
    assert (record.period, record.bucket_date, record.text_key) == (
        "2026-10",
        date(2026, 10, 1),
        "5001:2026-10:ST",
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("quantity", value) for value in BAD_QUANTITIES),
        ("quantity", Decimal("2.5")),
        ("quantity", 10**15),
        ("quantity", 10**400),
        *(("account_id", value) for value in ("5001", True, 0, -5, 2**63, None, Decimal(5001), [5001])),
        *(("usage_type", value) for value in ("st", "XX", "", None, 1, ["ST"], {"ST": 1})),
        *(
            ("period", value)
            for value in (
                *(
                    "2026-13",
                    "2026-00",
                    "2026-10-32",
                    "2026-02-29",
                    "2026-1-5",
                    "202610",
                    "2026-10-05T00:00Z",
                ),
                *(" 2026-10", "2026-10\n", "٢٠٢٦-١٠", "1999-12", "9999-01", "", None, 202610, "2026-W40-1"),
            )
        ),
        *(("reason", value) for value in ("", "  ", 5, "x" * 501, "a\x00b", "\ud800")),
    ],
)
def test_a_bad_value_is_refused_with_its_field_and_no_other(field, value):
    with pytest.raises(InvalidInput) as refused:
        parse_record(GOOD | {field: value}, today=TODAY)

    assert set(refused.value.fields) == {field}
    assert all(reasons and isinstance(reasons[0], str) for reasons in refused.value.fields.values())


@pytest.mark.parametrize("field", ["account_id", "period", "usage_type", "quantity"])
def test_a_missing_field_is_named(field):
    raw = {name: value for name, value in GOOD.items() if name != field}

    with pytest.raises(InvalidInput) as refused:
        parse_record(raw, today=TODAY)

    assert refused.value.fields == {field: ["is missing"]}


def test_every_bad_field_is_told_at_once():
    with pytest.raises(InvalidInput) as refused:
        parse_record({"account_id": "x", "period": "x", "quantiy": 5, "usage_type": "ST"}, today=TODAY)

    assert set(refused.value.fields) == {"account_id", "period", "quantity", "quantiy"}


def test_a_day_that_has_not_begun_is_refused():
    assert parse_record(GOOD | {"period": "2026-11-03"}, today=TODAY).bucket_date == TODAY
    with pytest.raises(InvalidInput) as refused:
        parse_record(GOOD | {"period": "2026-11-04"}, today=TODAY)
    assert refused.value.fields == {"period": ["has not begun yet"]}


@pytest.mark.parametrize("raw", [None, 5, "x", [], [GOOD]])
def test_something_that_is_no_record_is_refused(raw):
    with pytest.raises(InvalidInput) as refused:
        parse_record(raw, today=TODAY)

    assert refused.value.fields == {"record": ["must be an object"]}


def test_an_unknown_field_with_a_lone_surrogate_is_told_in_ascii():
    with pytest.raises(InvalidInput) as refused:
        parse_record(GOOD | {"\ud800": 1}, today=TODAY)

    assert refused.value.fields == {"\\ud800": ["is not a known field"]}
