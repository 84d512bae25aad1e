"""Prices of a plan tier as people write them: `pro=usd:0.0015,eur:0.0014`, in minor units per unit."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from billing_worker.core.errors import InvalidInput
from billing_worker.core.rating import Tier


def parse_tier(text: str) -> tuple[str, dict[str, list[Tier]]]:
    """A tier's name and its price by currency; without `=` it has none and is counted only.

    Raises:
        InvalidInput: a rate that is no number, or has more than 12 digits before or after the point.
    """
    name, _, tail = text.strip().partition("=")
    return name.strip(), parse_prices(tail)


def parse_prices(text: str) -> dict[str, list[Tier]]:
    """`usd:0.0015,eur:0.0014`; empty is no price. Raises InvalidInput as `parse_tier` does, or for a currency twice."""
    prices: dict[str, list[Tier]] = {}
    for price in filter(None, (part.strip() for part in text.split(","))):
        currency, _, rate = price.partition(":")
        try:
            amount = Decimal(rate)
        except InvalidOperation:
            raise InvalidInput(f"{price!r}: {rate!r} is not a rate like 0.0015") from None
        exponent = amount.as_tuple().exponent
        if not isinstance(exponent, int) or exponent < -12 or abs(amount) >= 10**12:
            raise InvalidInput(f"{price!r}: a rate has at most 12 digits before and after the point")
        if currency in prices:
            raise InvalidInput(f"{currency} is given twice")
        prices[currency] = [Tier(None, amount)]
    return prices


def parse_tiers(lines: list[str]) -> dict[str, dict[str, list[Tier]]]:
    """Several tiers, each named once. Raises InvalidInput."""
    tiers = dict(parse_tier(line) for line in lines)
    if len(tiers) != len(lines):
        raise InvalidInput("a tier is given twice")
    return tiers
