"""An invoice's sums: subtotal, discounts and taxes, each worked out per line in whole minor units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sandbox.billing.money import round_half_up
from sandbox.engine.errors import JsonObject

HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class Discount:
    """A coupon at work: either a percentage or a fixed amount in minor units."""

    id: str
    percent_off: Decimal | None
    amount_off_minor: int | None


@dataclass(frozen=True, slots=True)
class TaxRate:
    """A tax rate at work; an inclusive one is part of the line's amount."""

    id: str
    percentage: Decimal
    inclusive: bool


def apply_discounts(lines: Sequence[JsonObject], discounts: Sequence[Discount]) -> list[JsonObject]:
    """Set `discount_amounts` of each line and return the invoice's `total_discount_amounts`.

    A percentage is rounded half up per line. A fixed amount is spread in proportion to the lines' rests and never
    exceeds them; what rounding leaves over falls on the last line. Several discounts apply in turn, each to what the
    ones before have left.
    """
    for line in lines:
        line["discount_amounts"] = []
    rests = [max(line["amount"], 0) if line["discountable"] else 0 for line in lines]
    totals: list[JsonObject] = []
    for discount in discounts:
        shares = _shares(rests, discount)
        for position, (line, share) in enumerate(zip(lines, shares, strict=True)):
            rests[position] -= share
            if line["discountable"]:
                line["discount_amounts"].append({"amount": share, "discount": discount.id})
        totals.append({"amount": sum(shares), "discount": discount.id})
    return totals


def _shares(rests: list[int], discount: Discount) -> list[int]:
    if discount.percent_off is not None:
        return [round_half_up(rest * discount.percent_off / HUNDRED) for rest in rests]
    whole = sum(rests)
    left = min(discount.amount_off_minor or 0, whole)
    shares: list[int] = []
    for rest in rests:
        share = left * rest // whole if whole else 0
        shares.append(share)
        whole -= rest
        left -= share
    return shares


def apply_taxes(lines: Sequence[JsonObject], rates_of: Sequence[Sequence[TaxRate]]) -> list[JsonObject]:
    """Set each line's `taxes` from its rates and return the invoice's `total_taxes`; rounded per line and rate.

    What is taxed of a line is what discounts leave, less the taxes inside of it: amount and `taxable_amount` of its
    inclusive taxes are always what the customer pays.
    """
    totals: dict[str, JsonObject] = {}
    for line, rates in zip(lines, rates_of, strict=True):
        base = line["amount"] - sum(entry["amount"] for entry in line["discount_amounts"])
        inclusive_percent = sum((rate.percentage for rate in rates if rate.inclusive), Decimal(0))
        taxable = base * HUNDRED / (HUNDRED + inclusive_percent)
        amounts = [round_half_up(taxable * rate.percentage / HUNDRED) for rate in rates]
        within = sum(amount for amount, rate in zip(amounts, rates, strict=True) if rate.inclusive)
        line["taxes"] = [
            _tax(rate, amount, base - within) for amount, rate in zip(amounts, rates, strict=True)
        ]
        for tax in line["taxes"]:
            tax_rate = tax["tax_rate_details"]["tax_rate"]
            total = totals.setdefault(tax_rate, {**tax, "amount": 0, "taxable_amount": 0})
            total["amount"] += tax["amount"]
            total["taxable_amount"] += tax["taxable_amount"]
    return list(totals.values())


def _tax(rate: TaxRate, amount: int, taxable: int) -> JsonObject:
    return {
        "amount": amount,
        "tax_behavior": "inclusive" if rate.inclusive else "exclusive",
        "tax_rate_details": {"tax_rate": rate.id},
        "taxability_reason": "not_available",
        "taxable_amount": taxable,
        "type": "tax_rate_details",
    }


def sum_up(
    lines: Sequence[JsonObject], discount_totals: list[JsonObject], tax_totals: list[JsonObject]
) -> dict[str, Any]:
    """The invoice's summary fields in minor units, from lines that carry their discounts and taxes."""
    subtotal = sum(line["amount"] for line in lines)
    discounted = sum(entry["amount"] for entry in discount_totals)
    exclusive = sum(tax["amount"] for tax in tax_totals if tax["tax_behavior"] == "exclusive")
    inclusive = sum(tax["amount"] for tax in tax_totals if tax["tax_behavior"] == "inclusive")
    total = subtotal - discounted + exclusive
    return {
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal - inclusive,
        "total": total,
        "total_discount_amounts": discount_totals,
        "total_excluding_tax": total - exclusive - inclusive,
        "total_taxes": tax_totals,
    }
