"""The old service's price book: named plans with a monthly fee and graduated CPM tables per usage type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sandbox.legacy.rules import FlatFee, Tier

# A table is a tuple of (tier_to, rate per 1,000) in ascending order; the last tier_to is None.
Steps = tuple[tuple[int | None, str], ...]


@dataclass(frozen=True)
class Plan:
    """A plan as it is sold: its name, its monthly fee in the currency, its tables."""

    name: str
    currency: str
    fee: str
    tables: Mapping[str, Steps]


PLANS = {
    "starter": Plan(
        "Starter",
        "USD",
        "149.00",
        {
            "ST": ((500_000, "0"), (2_000_000, "1.25"), (None, "0.95")),
            "RM": ((250_000, "1.80"), (1_000_000, "1.45"), (None, "1.10")),
            "CV": ((100_000, "2.40"), (None, "1.90")),
        },
    ),
    "growth": Plan(
        "Growth",
        "USD",
        "499.00",
        {
            "ST": ((1_000_000, "0"), (5_000_000, "0.98"), (20_000_000, "0.76"), (None, "0.615")),
            "RM": ((500_000, "1.52"), (3_000_000, "1.28"), (None, "0.99")),
            "CV": ((200_000, "2.15"), (1_000_000, "1.725"), (None, "1.3375")),
        },
    ),
    "scale": Plan(
        "Scale",
        "USD",
        "1850.00",
        {
            "ST": ((10_000_000, "0.72"), (50_000_000, "0.585"), (None, "0.4425")),
            "RM": ((2_000_000, "1.16"), (12_000_000, "0.935"), (None, "0.7125")),
            "CV": ((1_000_000, "1.61"), (None, "1.204167")),
        },
    ),
    "grandfathered": Plan(
        "Classic 2014",
        "USD",
        "299.00",
        {
            "ST": ((1_000_000, "1.125"), (None, "0.833333")),
            "RM": ((None, "1.666667"),),
            "CV": ((50_000, "0"), (None, "2.083333")),
        },
    ),
    "growth_eu": Plan(
        "Growth EU",
        "EUR",
        "459.00",
        {
            "ST": ((1_000_000, "0"), (5_000_000, "0.915"), (None, "0.7225")),
            "RM": ((500_000, "1.43"), (None, "1.185")),
            "CV": ((200_000, "2.0125"), (None, "1.6075")),
        },
    ),
    "growth_jp": Plan(
        "Growth JP",
        "JPY",
        "68000.00",
        {
            "ST": ((1_000_000, "0"), (5_000_000, "138.5"), (None, "104.25")),
            "RM": ((500_000, "187.333333"), (None, "151.666667")),
            "CV": ((200_000, "262.75"), (None, "214.2")),
        },
    ),
}

# Fees of accounts without usage tiers.
FLAT_FEES = {
    "USD": ("49.00", "79.00", "99.00", "149.00", "249.00", "399.50"),
    "EUR": ("45.00", "89.00", "139.90", "229.00"),
    "JPY": ("7800.00", "15000.00", "48000.00"),
}


def make_fee(name: str, rate: str, start: date, end: date | None = None) -> FlatFee:
    """A flat fee in force on [start, end)."""
    return FlatFee(name, Decimal(rate), start, end)


def make_tiers(tables: Mapping[str, Steps], start: date, end: date | None = None) -> tuple[Tier, ...]:
    """The tiers of the tables, in force on [start, end)."""
    tiers = []
    for usage_type, steps in tables.items():
        tier_from = 0
        for tier_to, rate in steps:
            tiers.append(Tier(usage_type, tier_from, tier_to, Decimal(rate), start, end))
            tier_from = tier_to or 0
    return tuple(tiers)


def scale_tables(tables: Mapping[str, Steps], percent: int) -> dict[str, Steps]:
    """The same steps at a percentage of each rate, rounded to the six places that the table keeps."""
    six_places = Decimal("0.000001")
    return {
        usage_type: tuple(
            (to, str((Decimal(rate) * percent / 100).quantize(six_places))) for to, rate in steps
        )
        for usage_type, steps in tables.items()
    }
