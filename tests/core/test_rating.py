from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period
from billing_worker.core.rating import Tier, prorate_flat, rate_graduated, validate_tiers

#: 100,000 free, then 2.50 dollars, from a million 2.005 dollars per 1,000.
TIERS = [
    Tier(100_000, Decimal(0)),
    Tier(1_000_000, Decimal("0.25")),
    Tier(None, Decimal("0.2005")),
]


@pytest.mark.parametrize(
    ("quantity", "amounts"),
    [
        (0, []), (-5, []),
        (1, [0]), (99_999, [0]), (100_000, [0]),
        # One unit of a quarter cent: 0.25 is below half a cent, two are exactly half.
        (100_001, [0, 0]), (100_002, [0, 1]), (100_006, [0, 2]),
        (1_000_000, [0, 225_000]), (1_000_001, [0, 225_000, 0]),
        # 1,234,567 beyond the bound at 0.2005 cents are 247,530.6835 cents.
        (2_234_567, [0, 225_000, 247_531]),
        (10_000_000_000, [0, 225_000, 2_004_799_500]),
    ],
)  # fmt: skip
def test_each_unit_is_priced_in_the_tier_it_falls_in(quantity, amounts):
    assert [charge.amount_minor for charge in rate_graduated(quantity, TIERS)] == amounts


def test_quantities_and_tiers_of_the_charges():
    charges = rate_graduated(1_000_005, TIERS)
    assert [(charge.tier_index, charge.quantity) for charge in charges] == [
        (0, 100_000),
        (1, 900_000),
        (2, 5),
    ]


def test_yen_rates_keep_nine_places_until_the_line_is_rounded():
    # 12.345678 yen per 1,000 for 1,000,041 impressions: 12,346.184... yen.
    assert rate_graduated(1_000_041, [Tier(None, Decimal("0.012345678"))])[0].amount_minor == 12_346
    # 0.5 yen per 1,000 for 1,000 is exactly half a yen.
    assert rate_graduated(1_000, [Tier(None, Decimal("0.0005"))])[0].amount_minor == 1


@given(
    st.integers(0, 60),
    st.lists(st.integers(1, 15), max_size=4),
    st.lists(st.integers(0, 10**12), min_size=5, max_size=5),
)
def test_the_same_as_pricing_unit_by_unit(quantity, widths, rates):
    bounds = [sum(widths[: n + 1]) for n in range(len(widths))]
    tiers = [
        Tier(up_to, Decimal(rate).scaleb(-9)) for up_to, rate in zip([*bounds, None], rates, strict=False)
    ]
    per_tier: dict[int, Decimal] = {}
    for unit in range(1, quantity + 1):
        index = next(n for n, tier in enumerate(tiers) if tier.up_to is None or unit <= tier.up_to)
        per_tier[index] = per_tier.get(index, Decimal(0)) + tiers[index].unit_amount_decimal

    charges = rate_graduated(quantity, tiers)

    assert [charge.tier_index for charge in charges] == sorted(per_tier)
    for charge in charges:
        exact = per_tier[charge.tier_index]
        assert Decimal("-0.5") < charge.amount_minor - exact <= Decimal("0.5")
    assert sum(charge.quantity for charge in charges) == quantity


@given(st.integers(0, 10**12), st.integers(0, 10**6))
def test_more_usage_never_costs_less(quantity, more):
    def total(units: int) -> int:
        return sum(charge.amount_minor for charge in rate_graduated(units, TIERS))

    assert total(quantity) <= total(quantity + more)


@pytest.mark.parametrize(
    ("tiers", "reason"),
    [
        ([], "at least one tier"),
        ([Tier(10, Decimal(1))], "the last tier must have no upper bound"),
        ([Tier(None, Decimal(1)), Tier(None, Decimal(1))], "must ascend: None after 0"),
        ([Tier(10, Decimal(1)), Tier(10, Decimal(1)), Tier(None, Decimal(1))], "must ascend: 10 after 10"),
        ([Tier(0, Decimal(1)), Tier(None, Decimal(1))], "must ascend: 0 after 0"),
        ([Tier(None, Decimal(-1))], "must not be negative"),
    ],
)
def test_a_table_covers_every_quantity_once(tiers, reason):
    with pytest.raises(InvalidInput, match=reason):
        validate_tiers(tiers)


@pytest.mark.parametrize(
    ("fee", "period", "start", "amount"),
    [
        ("49900", Period(2026, 10), date(2026, 10, 1), 49900),
        ("49900", Period(2026, 10), date(2020, 1, 1), 49900),
        ("49900", Period(2026, 10), date(2026, 11, 1), 0),
        ("49900", Period(2026, 10), date(2026, 12, 1), 0),
        ("49900", Period(2026, 10), date(2026, 10, 31), 1610),  # 1609.677...
        ("49900", Period(2026, 10), date(2026, 10, 12), 32194),  # 20 of 31 days: 32193.548...
        ("9999", Period(2026, 9), date(2026, 9, 16), 5000),  # 15 of 30 days: 4999.5
        ("2801", Period(2026, 2), date(2026, 2, 15), 1401),  # 14 of 28 days: 1400.5
        ("2900", Period(2028, 2), date(2028, 2, 29), 100),
        ("48001", Period(2026, 9), date(2026, 9, 16), 24001),  # yen: 24000.5
    ],
)  # fmt: skip
def test_a_fee_from_the_start_day_on(fee, period, start, amount):
    assert prorate_flat(Decimal(fee), period=period, start_date=start) == amount
