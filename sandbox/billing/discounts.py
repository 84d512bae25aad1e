"""Coupons put to work: a discount on an invoice, a subscription or a customer."""

from __future__ import annotations

from typing import Any

from sandbox.billing.calendar import boundary
from sandbox.billing.invoicing import coupon_of
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, invalid


def apply_coupons(
    ctx: Context,
    given: Any,
    *,
    customer: str,
    at: int,
    subscription: str | None = None,
    invoice: str | None = None,
) -> list[str]:
    """Turn the `discounts` of a request into stored discounts and return their ids; `""` means none.

    Raises:
        StripeError: the coupon or discount does not exist, or the coupon cannot be redeemed any more.
    """
    ids: list[str] = []
    for position, entry in enumerate(given or []):
        param = f"discounts[{position}]"
        if entry.get("discount"):
            ids.append(ctx.require("discount", entry["discount"], f"{param}[discount]")["id"])
        elif entry.get("coupon"):
            discount = redeem(ctx, entry["coupon"], f"{param}[coupon]", customer, at)
            discount["subscription"], discount["invoice"] = subscription, invoice
            ctx.store.put("discount", discount)
            ids.append(discount["id"])
        else:
            raise invalid(
                param, "The sandbox takes `coupon` or `discount` here; promotion codes are not covered."
            )
    return ids


def redeem(ctx: Context, coupon_id: str, param: str, customer: str, at: int) -> JsonObject:
    """Count one redemption of a coupon and return the new discount, not yet stored."""
    coupon = ctx.require("coupon", coupon_id, param)
    maximum, redeem_by = coupon["max_redemptions"], coupon["redeem_by"]
    if not coupon["valid"] or (redeem_by is not None and redeem_by <= at):
        raise invalid(param, f"Coupon expired: {coupon_id}", "coupon_expired")
    end = None
    if coupon["duration"] == "repeating":
        end = boundary(at, "month", coupon["duration_in_months"] or 1, 1)
    times = coupon["times_redeemed"] + 1
    ctx.store.put("coupon", {**coupon, "times_redeemed": times, "valid": maximum is None or times < maximum})
    return {
        "id": ctx.store.new_id("di"),
        "object": "discount",
        "checkout_session": None,
        "customer": customer,
        "end": end,
        "invoice": None,
        "invoice_item": None,
        "promotion_code": None,
        "source": {"coupon": coupon_id, "type": "coupon"},
        "start": at,
        "subscription": None,
        "subscription_item": None,
    }


def take_discounts(ctx: Context, subscription: JsonObject, at: int) -> list[str]:
    """The discounts that hold for an invoice made at `at`; those for one invoice only are used up by it."""
    holding = []
    for discount_id in subscription["discounts"]:
        discount = ctx.require("discount", discount_id)
        if discount["end"] is None or at < discount["end"]:
            holding.append(discount_id)
    subscription["discounts"] = [id for id in holding if coupon_of(ctx, id)["duration"] != "once"]
    return holding
