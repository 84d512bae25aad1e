"""Prices as the billing code needs them: with their tiers, inline ones, and the `plan` that old fields still show."""

from __future__ import annotations

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject


def get_price(ctx: Context, price_id: str, param: str = "price") -> JsonObject:
    """A stored price with `tiers` where it has any.

    Raises:
        StripeError: 404, there is no such price.
    """
    price = ctx.require("price", price_id, param)
    tiers = price.get("_tiers") or price.get("tiers")
    return {**price, "tiers": tiers} if tiers else price


def shown_price(price: JsonObject) -> JsonObject:
    """A price as it is embedded in other objects: without tiers and internal fields."""
    return {key: value for key, value in price.items() if key != "tiers" and not key.startswith("_")}


def usage_type(price: JsonObject) -> str:
    """`licensed` or `metered`."""
    return (price.get("recurring") or {}).get("usage_type") or "licensed"


def interval_of(price: JsonObject) -> tuple[str, int]:
    """A recurring price's interval and interval count."""
    recurring = price["recurring"]
    return recurring["interval"], recurring.get("interval_count") or 1


def plan_of(price: JsonObject) -> JsonObject:
    """The deprecated `plan` that Stripe still derives from a recurring price."""
    recurring = price.get("recurring") or {}
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price.get("unit_amount"),
        "amount_decimal": price.get("unit_amount_decimal"),
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring.get("interval", "month"),
        "interval_count": recurring.get("interval_count", 1),
        "livemode": False,
        "metadata": price.get("metadata", {}),
        "meter": recurring.get("meter"),
        "nickname": price.get("nickname"),
        "product": price["product"],
        "tiers_mode": price.get("tiers_mode"),
        "transform_usage": price.get("transform_quantity"),
        "trial_period_days": recurring.get("trial_period_days"),
        "usage_type": usage_type(price),
    }


def product_name(ctx: Context, price: JsonObject) -> str:
    """The name that a price's lines are described with."""
    product = ctx.store.get("product", price["product"]) or ctx.store.buried("product", price["product"])
    return str((product or {}).get("name") or price["product"])
