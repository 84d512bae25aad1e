"""The two ways a price becomes an amount: graduated tiers and prorated flat fees.

The arithmetic follows Stripe's graduated pricing (every unit is priced in the tier that it falls in, `up_to` is
inclusive, each tier used is a line of its own, each line rounded half up once;
https://docs.stripe.com/products-prices/pricing-models#graduated-pricing) and the old service's rules, which agree.
Unit amounts are `Decimal` minor units per unit (up to 12 places), amounts are `int` minor units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from billing_worker.core.errors import InvalidInput
from billing_worker.core.money import round_half_up
from billing_worker.core.periods import Period

LineKind = Literal["sub", "ST", "RM", "CV", "sampled", "managed", "custom"]
UsageType = Literal["ST", "RM", "CV"]
USAGE_TYPES: tuple[UsageType, ...] = ("ST", "RM", "CV")


@dataclass(frozen=True, slots=True)
class Tier:
    """One step of a graduated price. `up_to` is the last unit in it (inclusive); None is the open end."""

    up_to: int | None
    unit_amount_decimal: Decimal


@dataclass(frozen=True, slots=True)
class TierCharge:
    """What one tier contributes: `quantity` units at `unit_amount_decimal`, rounded to `amount_minor`."""

    tier_index: int
    quantity: int
    unit_amount_decimal: Decimal
    amount_minor: int


def validate_tiers(tiers: Sequence[Tier]) -> None:
    """Check that a tier table covers every quantity exactly once.

    Raises:
        InvalidInput: empty, not ascending, closed at the end, or a negative price.
    """
    if not tiers:
        raise InvalidInput("a tier table needs at least one tier")
    if tiers[-1].up_to is not None:
        raise InvalidInput("the last tier must have no upper bound")
    last = 0
    for tier in tiers[:-1]:
        if tier.up_to is None or tier.up_to <= last:
            raise InvalidInput(f"tier bounds must ascend: {tier.up_to} after {last}")
        last = tier.up_to
    if any(tier.unit_amount_decimal < 0 for tier in tiers):
        raise InvalidInput("a tier's unit amount must not be negative")


def rate_graduated(quantity: int, tiers: Sequence[Tier]) -> list[TierCharge]:
    """Price a period's whole quantity through graduated tiers; one charge per tier that is used.

    A quantity of zero or below (corrections can push a total under zero) uses no tier and charges nothing.
    """
    validate_tiers(tiers)
    charges: list[TierCharge] = []
    lower = 0
    for index, tier in enumerate(tiers):
        if quantity <= lower:
            break
        upper = quantity if tier.up_to is None else min(quantity, tier.up_to)
        units = upper - lower
        charges.append(
            TierCharge(
                index, units, tier.unit_amount_decimal, round_half_up(units * tier.unit_amount_decimal)
            )
        )
        lower = upper
    return charges


def prorate_flat(unit_amount_decimal: Decimal, *, period: Period, start_date: date) -> int:
    """A flat fee for the part of the period from `start_date` (included) to its end, in minor units.

    A start on or before the first of the period pays the whole fee, one after its last day pays nothing.
    """
    days = min(max((period.end_date - start_date).days, 0), period.days)
    return round_half_up(unit_amount_decimal * days / period.days)
