"""What requests say about subscription items, checked against the prices they name."""

from __future__ import annotations

from typing import Any

from sandbox.billing.pricing import get_price, interval_of, plan_of, shown_price, usage_type
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.resources.fields import merge_metadata
from sandbox.resources.prices import add_price

MAX_ITEMS = 20


def chosen_price(ctx: Context, given: dict[str, Any], param: str) -> JsonObject:
    """The price that an item names by `price`, `plan` or `price_data`.

    Raises:
        StripeError: it is missing, does not exist, is archived or is not recurring.
    """
    prefix = f"{param}[price_data]" if param else "price_data"
    if "price_data" in given:
        price = add_price(ctx, {**given["price_data"], "active": False}, prefix)
        return get_price(ctx, price["id"])
    name = f"{param}[price]" if param else "price"
    price_id = given.get("price") or given.get("plan")
    if not price_id:
        raise invalid(name, f"Missing required param: {name}.", "parameter_missing")
    price = get_price(ctx, price_id, name)
    if not price["active"]:
        raise invalid(name, "The price specified is inactive. This field only accepts active prices.")
    if price["type"] != "recurring":
        message = (
            "The price specified is set to `type=one_time` but this field takes prices with `type=recurring`."
        )
        raise invalid(name, message)
    return price


def new_item(ctx: Context, subscription_id: str, given: dict[str, Any], param: str, at: int) -> JsonObject:
    """A subscription item from its parameters, not yet stored.

    Raises:
        StripeError: the price cannot be used, or a metered price was given a quantity.
    """
    price = chosen_price(ctx, given, param)
    metered = usage_type(price) == "metered"
    check_quantity(given, metered, param)
    item: JsonObject = {
        "id": ctx.store.new_id("si"),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": at,
        "current_period_end": 0,
        "current_period_start": 0,
        "discounts": [],
        "metadata": merge_metadata({}, given.get("metadata", {})),
        "plan": plan_of(price),
        "price": shown_price(price),
        "subscription": subscription_id,
        "tax_rates": tax_rates(ctx, given.get("tax_rates"), f"{param}[tax_rates]"),
    }
    if not metered:
        item["quantity"] = given.get("quantity", 1)
    return item


def check_quantity(given: dict[str, Any], metered: bool, param: str) -> None:
    """Refuse a quantity on a metered item and a negative one on a licensed item."""
    name = f"{param}[quantity]" if param else "quantity"
    if metered and "quantity" in given:
        raise invalid(name, "You cannot set the quantity for metered plans.")
    if given.get("quantity", 0) < 0:
        raise invalid(name, "Invalid non-negative integer")


def tax_rates(ctx: Context, given: Any, param: str) -> list[JsonObject]:
    """The tax rates that a request names, whole."""
    return [ctx.require("tax_rate", id, param) for id in given or []]


def check_tax_behavior(items: list[JsonObject], default_tax_rates: list[JsonObject] | None) -> None:
    """Refuse a tax rate that is inside an exclusive price, or on top of an inclusive one.

    Raises:
        StripeError: 400, as Stripe words it. A price that does not say its behavior takes any rate.
    """
    for item in items:
        rates = item.get("tax_rates") or default_tax_rates or []
        told = {"inclusive" if rate["inclusive"] else "exclusive" for rate in rates}
        if item["price"].get("tax_behavior") in ("inclusive", "exclusive") and told - {
            item["price"]["tax_behavior"]
        }:
            message = (
                "One or more prices has a `tax_behavior` that conflicts with the tax rates that apply to the "
                "corresponding line item."
            )
            raise StripeError(400, message)


def check_items_together(items: list[JsonObject]) -> None:
    """Refuse items that no single subscription can have.

    Raises:
        StripeError: there are none or more than 20, two share a price, or they differ in currency or interval.
    """
    if not items:
        raise StripeError(400, "Missing required param: items.", code="parameter_missing", param="items")
    if len(items) > MAX_ITEMS:
        raise invalid("items", f"A subscription can have at most {MAX_ITEMS} items.")
    prices = [item["price"] for item in items]
    if len({price["id"] for price in prices}) < len(prices):
        raise invalid("items", "Cannot add multiple subscription items with the same price.")
    if len({price["currency"] for price in prices}) > 1:
        raise invalid("items", "All prices on a subscription must have the same currency.")
    if len({interval_of(price) for price in prices}) > 1:
        raise invalid(
            "items",
            "Currently, all prices on a subscription must have the same `recurring.interval` and "
            "`recurring.interval_count`; the sandbox does not cover mixed intervals.",
        )
