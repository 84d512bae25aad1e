"""The pure part of billing: tiers, rounding, calendar, prorations, settlement. Amounts are worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.billing.calendar import boundary, next_boundary, period_containing
from sandbox.billing.diff import previous_attributes
from sandbox.billing.money import display_amount, round_half_up
from sandbox.billing.proration import prorate, share_of_cycles
from sandbox.billing.settlement import settle
from sandbox.billing.tiers import rate
from sandbox.billing.totals import Discount, TaxRate, apply_discounts, apply_taxes, sum_up


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp())


def graduated(*tiers: tuple[int | None, str]) -> dict[str, Any]:
    return {
        "billing_scheme": "tiered",
        "tiers_mode": "graduated",
        "tiers": [{"up_to": up_to, "unit_amount_decimal": unit} for up_to, unit in tiers],
    }


FREE_FIRST = graduated((1_000, "0"), (5_000, "0.1234567"), (None, "0.05"))


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (0, [(0, 0)]),
        (-5, [(0, 0)]),
        (1, [(1, 0)]),
        (1_000, [(1_000, 0)]),
        (1_001, [(1_000, 0), (1, 0)]),  # 0.1234567 -> 0
        (1_005, [(1_000, 0), (5, 1)]),  # 0.6172835 -> 1
        (5_000, [(1_000, 0), (4_000, 494)]),  # 493.8268
        (5_001, [(1_000, 0), (4_000, 494), (1, 0)]),
        (5_010, [(1_000, 0), (4_000, 494), (10, 1)]),  # 0.50 -> 1
        (7_000, [(1_000, 0), (4_000, 494), (2_000, 100)]),
        (987_654_321_012, [(1_000, 0), (4_000, 494), (987_654_316_012, 49_382_715_801)]),  # 49382715800.60
    ],
)
def test_graduated_tiers_price_each_unit_where_it_falls(
    quantity: int, expected: list[tuple[int, int]]
) -> None:
    assert [(charge.quantity, charge.amount_minor) for charge in rate(FREE_FIRST, quantity)] == expected


@pytest.mark.parametrize(
    ("unit", "quantity", "amount"),
    [
        ("0.000000001", 499_999_999, 0),  # 0.499999999
        ("0.000000001", 500_000_000, 1),  # 0.5
        ("0.1234567", 81, 10),  # 9.9999927
        ("12.345678901", 1_000_000, 12_345_679),  # 12345678.901
        ("0.5", 1, 1),
        ("2.5", 1, 3),  # half up, not half even
        ("0.0825", 12_345_678_901, 1_018_518_509),  # 1018518509.3325
    ],
)
def test_a_line_is_rounded_half_up_once(unit: str, quantity: int, amount: int) -> None:
    price = {"billing_scheme": "per_unit", "unit_amount_decimal": unit}
    assert [charge.amount_minor for charge in rate(price, quantity)] == [amount]


def test_a_flat_amount_is_a_charge_of_its_own_from_the_first_unit_of_its_tier() -> None:
    price = graduated((10, "5"), (None, "2"))
    price["tiers"][0]["flat_amount"] = 1_000
    price["tiers"][1]["flat_amount_decimal"] = "250.5"
    charges = [(charge.quantity, charge.amount_minor, charge.flat) for charge in rate(price, 11)]
    assert charges == [(10, 50, False), (1, 1_000, True), (1, 2, False), (1, 251, True)]
    assert [(charge.quantity, charge.amount_minor) for charge in rate(price, 0)] == [(0, 0), (1, 1_000)]


@pytest.mark.parametrize(("quantity", "expected"), [(10, 50), (11, 22), (1_000, 2_000)])
def test_volume_tiers_price_everything_by_one_tier(quantity: int, expected: int) -> None:
    price = graduated((10, "5"), (None, "2")) | {"tiers_mode": "volume"}
    assert [charge.amount_minor for charge in rate(price, quantity)] == [expected]


@pytest.mark.parametrize(("rounding", "expected"), [("up", 300), ("down", 200)])
def test_packages_are_counted_up_or_down(rounding: str, expected: int) -> None:
    price = {"billing_scheme": "per_unit", "unit_amount": 100}
    price["transform_quantity"] = {"divide_by": 1_000, "round": rounding}
    assert rate(price, 2_001)[0].amount_minor == expected


@given(st.integers(0, 10**12))
def test_tiers_hold_every_unit_once(quantity: int) -> None:
    assert sum(charge.quantity for charge in rate(FREE_FIRST, quantity)) == quantity


@pytest.mark.parametrize(
    ("anchor", "interval", "count", "turns"),
    [
        (at(2026, 1, 31), "month", 1, [at(2026, 1, 31), at(2026, 2, 28), at(2026, 3, 31), at(2026, 4, 30)]),
        (at(2028, 1, 31, 6), "month", 1, [at(2028, 1, 31, 6), at(2028, 2, 29, 6), at(2028, 3, 31, 6)]),
        (
            at(2026, 10, 30),
            "month",
            1,
            [at(2026, 10, 30), at(2026, 11, 30), at(2026, 12, 30), at(2027, 1, 30)],
        ),
        (at(2026, 12, 1), "month", 1, [at(2026, 12, 1), at(2027, 1, 1), at(2027, 2, 1)]),
        (at(2026, 11, 30), "month", 3, [at(2026, 11, 30), at(2027, 2, 28), at(2027, 5, 30)]),
        (
            at(2028, 2, 29),
            "year",
            1,
            [at(2028, 2, 29), at(2029, 2, 28), at(2030, 2, 28), at(2031, 2, 28), at(2032, 2, 29)],
        ),
        (at(2026, 3, 28), "week", 2, [at(2026, 3, 28), at(2026, 4, 11)]),
        (at(2026, 2, 27), "day", 1, [at(2026, 2, 27), at(2026, 2, 28), at(2026, 3, 1)]),
    ],
)
def test_cycles_keep_the_anchors_day(anchor: int, interval: str, count: int, turns: list[int]) -> None:
    assert [boundary(anchor, interval, count, n) for n in range(len(turns))] == turns
    following = [next_boundary(anchor, interval, count, turn) for turn in turns[:-1]]
    assert following == turns[1:]


def test_a_cycle_reaches_back_before_its_anchor() -> None:
    assert boundary(at(2026, 3, 31), "month", 1, -1) == at(2026, 2, 28)
    assert period_containing(at(2026, 3, 31), "month", 1, at(2026, 3, 1)) == (
        at(2026, 2, 28),
        at(2026, 3, 31),
    )


@given(
    st.integers(0, 4_000_000_000),
    st.integers(0, 4_000_000_000),
    st.sampled_from([("month", 1), ("month", 3), ("year", 1), ("week", 1), ("day", 10)]),
)
def test_every_moment_lies_in_one_period(anchor: int, moment: int, rhythm: tuple[str, int]) -> None:
    start, end = period_containing(anchor, *rhythm, moment)
    assert start <= moment < end
    assert next_boundary(anchor, *rhythm, start) == end


def monthly_share(start: int, end: int, anchor: int) -> Fraction:
    return share_of_cycles(start, end, anchor=anchor, interval="month", interval_count=1)


@pytest.mark.parametrize(
    ("amount", "start", "anchor", "expected"),
    [
        ("9900", at(2026, 10, 15), at(2026, 11, 1), 5_429),  # 17/31: 5429.03
        ("9900", at(2026, 11, 16), at(2026, 12, 1), 4_950),  # 15/30
        ("10000", at(2027, 2, 15), at(2027, 3, 1), 5_000),  # 14/28
        ("10000", at(2028, 2, 15), at(2028, 3, 1), 5_172),  # 15/29: 5172.41
        ("9900", at(2026, 10, 31, 23, 59), at(2026, 11, 1), 0),  # a minute: 0.2217
        ("10000", at(2026, 8, 15), at(2026, 11, 1), 25_484),  # 17/31 + 1 + 1: 25483.87, in one line
        ("5", at(2026, 11, 16), at(2026, 12, 1), 3),  # 2.5: half up
    ],
)
def test_a_first_period_is_prorated_by_the_second(
    amount: str, start: int, anchor: int, expected: int
) -> None:
    assert prorate(Decimal(amount), monthly_share(start, anchor, anchor)) == expected


def test_a_full_interval_before_the_anchor_is_one_cycle() -> None:
    assert monthly_share(at(2026, 10, 1), at(2026, 11, 1), at(2026, 11, 1)) == 1
    assert monthly_share(at(2026, 2, 28), at(2026, 3, 31), at(2026, 3, 31)) == 1


def test_credits_round_away_from_zero_like_charges() -> None:
    assert prorate(Decimal(-5), Fraction(1, 2)) == -3
    assert round_half_up(Decimal("-2.5")) == -3


@pytest.mark.parametrize(
    ("total", "balance", "currency", "due", "ending"),
    [
        (1_000, 0, "usd", 1_000, 0),
        (1_000, -400, "usd", 600, 0),
        (1_000, -1_500, "usd", 0, -500),
        (1_000, 250, "usd", 1_250, 0),
        (49, 0, "usd", 0, 49),
        (50, 0, "usd", 50, 0),
        (49, 0, "eur", 0, 49),
        (49, 0, "jpy", 0, 49),
        (50, 0, "jpy", 50, 0),
        (29, 0, "gbp", 0, 29),
        (30, 0, "gbp", 30, 0),
        (0, 0, "usd", 0, 0),
        (0, -300, "usd", 0, -300),
        (-700, 0, "usd", 0, -700),
        (30, 30, "usd", 60, 0),
    ],
)
def test_what_is_due_and_what_goes_to_the_balance(
    total: int, balance: int, currency: str, due: int, ending: int
) -> None:
    settlement = settle(total, balance, currency)
    assert (settlement.amount_due_minor, settlement.ending_balance_minor) == (due, ending)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("9900", "usd", "$99.00"),
        ("0.1234567", "usd", "$0.001234567"),
        ("0", "usd", "$0.00"),
        ("500", "jpy", "¥500"),
        ("0.5", "jpy", "¥0.5"),
        ("1250", "eur", "€12.50"),
        ("1250", "sek", "SEK 12.50"),
        ("-150", "usd", "-$1.50"),
    ],
)
def test_amounts_in_descriptions(amount: str, currency: str, text: str) -> None:
    assert display_amount(Decimal(amount), currency) == text


def line(amount: int, discountable: bool = True) -> dict[str, Any]:
    return {"amount": amount, "discountable": discountable, "discount_amounts": [], "taxes": []}


def test_a_percentage_is_taken_per_line_and_a_fixed_amount_is_spread() -> None:
    lines = [line(1_005), line(333), line(100, discountable=False), line(-50)]
    totals = apply_discounts(lines, [Discount("di_p", Decimal("12.5"), None), Discount("di_f", None, 100)])
    # 125.625 -> 126 and 41.625 -> 42; then 100 over 879 and 291: 75.1 -> 75 and the rest.
    assert totals == [{"amount": 168, "discount": "di_p"}, {"amount": 100, "discount": "di_f"}]
    assert [[entry["amount"] for entry in one["discount_amounts"]] for one in lines] == [
        [126, 75],
        [42, 25],
        [],
        [0, 0],
    ]


def test_taxes_on_top_and_within() -> None:
    lines = [line(1_000), line(1_190)]
    on_top = TaxRate("txr_on", Decimal(19), inclusive=False)
    within = TaxRate("txr_in", Decimal(19), inclusive=True)
    taxes = apply_taxes(lines, [[on_top], [within]])
    sums = sum_up(lines, [], taxes)
    assert [tax["amount"] for tax in taxes] == [190, 190]
    assert (sums["subtotal"], sums["subtotal_excluding_tax"]) == (2_190, 2_000)
    assert (sums["total"], sums["total_excluding_tax"]) == (2_380, 2_000)


def test_taxes_within_are_what_discounts_leave_of_the_price() -> None:
    one = line(11_900)
    coupon = apply_discounts([one], [Discount("di_10", Decimal(10), None)])
    taxes = apply_taxes([one], [[TaxRate("txr_in", Decimal(19), inclusive=True)]])
    sums = sum_up([one], coupon, taxes)
    # 119.00 less 11.90 is 107.10, of which 17.10 is tax and 90.00 is not.
    assert [(tax["amount"], tax["taxable_amount"], tax["tax_behavior"]) for tax in one["taxes"]] == [
        (1_710, 9_000, "inclusive")
    ]
    assert (sums["total"], sums["total_excluding_tax"]) == (10_710, 9_000)


def test_half_a_cent_of_tax_within_is_not_paid_twice() -> None:
    one = line(21)
    apply_taxes([one], [[TaxRate("txr_in", Decimal(100), inclusive=True)]])
    # 10.5 of tax and 10.5 besides: the tax is rounded up, the rest is what is left.
    assert [(tax["amount"], tax["taxable_amount"]) for tax in one["taxes"]] == [(11, 10)]


def test_previous_attributes_name_what_changed() -> None:
    before = {"status": "draft", "number": None, "n": {"a": 1, "b": 2}, "l": [1], "_own": 1}
    after = {"status": "open", "number": "A-1", "n": {"a": 1, "b": 3}, "l": [1, 2], "_own": 2, "new": True}
    assert previous_attributes(before, after) == {
        "status": "draft", "number": None, "n": {"b": 2}, "l": [1], "new": None
    }  # fmt: skip
