"""What units cost that come on top of others: the bill for all of them less the bill for the first ones. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from billing_worker.core.rating import Tier, rate_graduated


@dataclass(frozen=True, slots=True)
class TierStep:
    """One tier before and after. `tier` counts from 1; amounts are whole minor units, rounded once per tier."""

    tier: int
    unit_amount_decimal: Decimal
    units_before: int
    units_after: int
    before_minor: int
    after_minor: int

    @property
    def difference_minor(self) -> int:
        return self.after_minor - self.before_minor

    @property
    def difference_units(self) -> int:
        return self.units_after - self.units_before

    def dump(self) -> dict[str, Any]:
        """As JSON keeps it; the rate stays text."""
        return {
            "tier": self.tier,
            "unit_amount_decimal": f"{self.unit_amount_decimal.normalize():f}",
            "units_before": self.units_before,
            "units_after": self.units_after,
            "before_minor": self.before_minor,
            "after_minor": self.after_minor,
        }


def load_step(row: dict[str, Any]) -> TierStep:
    """The inverse of `TierStep.dump`."""
    return TierStep(**{**row, "unit_amount_decimal": Decimal(row["unit_amount_decimal"])})


def compute_true_up(*, units_before: int, units: int, tiers: Sequence[Tier]) -> list[TierStep]:
    """The tiers that `units` after `units_before` change. A total below zero bills nothing, as on Stripe's invoices.

    The differences add up to the true-up's amount. No tiers: nothing is charged.
    """
    if not tiers:
        return []
    before = {charge.tier_index: charge for charge in rate_graduated(units_before, tiers)}
    after = {charge.tier_index: charge for charge in rate_graduated(units_before + units, tiers)}
    steps = [
        TierStep(
            tier=index + 1,
            unit_amount_decimal=tier.unit_amount_decimal,
            units_before=before[index].quantity if index in before else 0,
            units_after=after[index].quantity if index in after else 0,
            before_minor=before[index].amount_minor if index in before else 0,
            after_minor=after[index].amount_minor if index in after else 0,
        )
        for index, tier in enumerate(tiers)
    ]
    return [step for step in steps if step.difference_units]
