"""What a quantity costs under a price: one charge for each tier that it reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sandbox.billing.money import round_half_up


@dataclass(frozen=True, slots=True)
class Charge:
    """One invoice line's worth: `quantity` at `unit_amount` minor units each, rounded once into `amount_minor`."""

    quantity: int
    unit_amount: Decimal
    amount_minor: int
    tier: int | None = None  # 1-based position; None for a price without tiers
    flat: bool = False


def tier_unit_amount(tier: Mapping[str, Any]) -> Decimal:
    """A tier's price per unit in minor units; 0 where only a flat amount is set."""
    return _amount(tier, "unit_amount")


def _amount(holder: Mapping[str, Any], field: str) -> Decimal:
    text = holder.get(f"{field}_decimal")
    if text is None:
        text = holder.get(field)
    return Decimal(0) if text is None else Decimal(str(text))


def rate_graduated(quantity: int, tiers: Sequence[Mapping[str, Any]]) -> list[Charge]:
    """Price each unit in the tier it falls in; `up_to` is inclusive and None has no end.

    A negative quantity counts as 0. A quantity of 0 gives a single charge of 0 in the first tier, so that the usage
    shows on the invoice. A tier's flat amount is a charge of its own once the tier is reached; 0 reaches the first.
    """
    remaining = max(quantity, 0)
    charges: list[Charge] = []
    reached = 0
    for position, tier in enumerate(tiers, start=1):
        up_to = tier.get("up_to")
        held = remaining if up_to is None else min(remaining, int(up_to) - reached)
        if held <= 0 and position > 1:
            break
        unit = tier_unit_amount(tier)
        charges.append(Charge(held, unit, round_half_up(held * unit), position))
        flat = _amount(tier, "flat_amount")
        if flat:
            charges.append(Charge(1, flat, round_half_up(flat), position, flat=True))
        remaining -= held
        reached += held
    return charges


def rate_volume(quantity: int, tiers: Sequence[Mapping[str, Any]]) -> list[Charge]:
    """Price every unit by the one tier that the whole quantity falls in. A negative quantity counts as 0."""
    counted = max(quantity, 0)
    for position, tier in enumerate(tiers, start=1):
        up_to = tier.get("up_to")
        if up_to is not None and counted > int(up_to):
            continue
        unit = tier_unit_amount(tier)
        charges = [Charge(counted, unit, round_half_up(counted * unit), position)]
        flat = _amount(tier, "flat_amount")
        if flat:
            charges.append(Charge(1, flat, round_half_up(flat), position, flat=True))
        return charges
    raise ValueError(f"no tier holds the quantity {counted}")


def transformed(quantity: int, transform: Mapping[str, Any] | None) -> int:
    """The quantity that is priced: packages of `divide_by`, rounded up or down, where the price says so."""
    if not transform:
        return quantity
    divide_by = int(transform["divide_by"])
    return -(-quantity // divide_by) if transform["round"] == "up" else quantity // divide_by


def rate(price: Mapping[str, Any], quantity: int) -> list[Charge]:
    """What `quantity` costs under a Stripe price object, in the price's minor units, one charge per invoice line."""
    if price.get("billing_scheme") == "tiered":
        tiers = price["tiers"]
        return (
            rate_volume(quantity, tiers)
            if price.get("tiers_mode") == "volume"
            else rate_graduated(quantity, tiers)
        )
    unit = _amount(price, "unit_amount")
    counted = transformed(max(quantity, 0), price.get("transform_quantity"))
    return [Charge(max(quantity, 0), unit, round_half_up(counted * unit))]


def exact_amount(price: Mapping[str, Any], quantity: int) -> Decimal:
    """The unrounded price of a licensed quantity in minor units, the base of its prorations."""
    if price.get("billing_scheme") == "tiered":
        return sum((charge.quantity * charge.unit_amount for charge in rate(price, quantity)), Decimal(0))
    return transformed(quantity, price.get("transform_quantity")) * _amount(price, "unit_amount")
