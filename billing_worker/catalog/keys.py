"""Lookup keys: the names under which prices are found again. Equal terms give the equal key, on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal

from billing_worker.core.rating import Tier, UsageType

#: Stripe's event names of the meters.
EVENT_NAMES: dict[UsageType, str] = {"ST": "impressions_st", "RM": "impressions_rm", "CV": "impressions_cv"}


def format_amount(amount: Decimal) -> str:
    """A decimal without exponent and trailing zeros: `0.200000` -> `0.2`, `49900` -> `49900`."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def make_flat_key(currency: str, unit_amount_decimal: Decimal) -> str:
    """`flat_usd_49900`: minor units a month, `p` for the decimal point."""
    return f"flat_{currency.lower()}_{format_amount(unit_amount_decimal).replace('.', 'p')}"


def make_tier_key(usage_type: UsageType, currency: str, tiers: Sequence[Tier]) -> str:
    """`tiers_st_usd_<12 hex>`: the hash covers every bound and rate, written canonically."""
    return f"tiers_{usage_type.lower()}_{currency.lower()}_{_hash_tiers(tiers)}"


def make_sampled_key(event_name: str, currency: str, tiers: Sequence[Tier]) -> str:
    """`sampled_gb_seconds_pro_usd_<12 hex>`, hashed as tiers are."""
    return f"sampled_{event_name}_{currency.lower()}_{_hash_tiers(tiers)}"


def _hash_tiers(tiers: Sequence[Tier]) -> str:
    table = ",".join(
        f"{'inf' if tier.up_to is None else tier.up_to}:{format_amount(tier.unit_amount_decimal)}"
        for tier in tiers
    )
    return hashlib.sha256(table.encode()).hexdigest()[:12]


def dump_tiers(tiers: Sequence[Tier]) -> list[dict[str, int | str | None]]:
    """A tier table as JSON keeps it; decimals stay text."""
    return [
        {"up_to": tier.up_to, "unit_amount_decimal": format_amount(tier.unit_amount_decimal)}
        for tier in tiers
    ]


def load_tiers(table: Sequence[dict[str, int | str | None]]) -> tuple[Tier, ...]:
    """The inverse of `dump_tiers`."""
    return tuple(
        Tier(None if row["up_to"] is None else int(row["up_to"]), Decimal(str(row["unit_amount_decimal"])))
        for row in table
    )
