"""Coupons, and the discounts they are on customers and subscriptions."""

from __future__ import annotations

from typing import Any

from sandbox.billing.diff import previous_attributes, snapshot
from sandbox.billing.subscription_record import change_subscription
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.routing import operation
from sandbox.engine.shapes import list_page
from sandbox.resources.fields import filter_created, merge_metadata, unset

KIND = "coupon"


@operation("POST", "/v1/coupons", params="CouponCreateParams")
def create_coupon(ctx: Context) -> JsonObject:
    """Create a coupon with `percent_off` or `amount_off`; durations other than `forever` are kept, not enforced."""
    params = ctx.params
    percent, amount = params.get("percent_off"), params.get("amount_off")
    if (percent is None) == (amount is None):
        raise invalid("percent_off", "You must pass exactly one of `percent_off` and `amount_off`.")
    if percent is not None and not 0 < percent <= 100:
        raise invalid("percent_off", "Invalid percent_off: it must be greater than 0 and at most 100.")
    if amount is not None and ("currency" not in params or amount <= 0):
        raise invalid(
            "currency" if amount > 0 else "amount_off", "`amount_off` must be positive and have a `currency`."
        )
    coupon_id = params.get("id") or ctx.store.new_id("x")[2:10]
    if ctx.store.get(KIND, coupon_id):
        raise StripeError(400, "Coupon already exists.", code="resource_already_exists", param="id")
    coupon: JsonObject = {
        "id": coupon_id,
        "object": KIND,
        "amount_off": amount,
        "created": ctx.now(),
        "currency": params["currency"].lower() if amount is not None else None,
        "duration": params.get("duration", "once"),
        "duration_in_months": params.get("duration_in_months"),
        "livemode": False,
        "max_redemptions": params.get("max_redemptions"),
        "metadata": merge_metadata({}, params.get("metadata", {})),
        "name": params.get("name"),
        "percent_off": percent,
        "redeem_by": params.get("redeem_by"),
        "times_redeemed": 0,
        "valid": True,
    }
    ctx.store.put(KIND, coupon)
    ctx.emit("coupon.created", coupon)
    return coupon


@operation("GET", "/v1/coupons/{coupon}", params="CouponRetrieveParams")
def retrieve_coupon(ctx: Context) -> JsonObject:
    return ctx.require(KIND, ctx.path["coupon"], "coupon")


@operation("GET", "/v1/coupons", params="CouponListParams")
def list_coupons(ctx: Context) -> JsonObject:
    return list_page(ctx, filter_created(ctx.store.all(KIND), ctx.params.get("created")), "/v1/coupons")


@operation("POST", "/v1/coupons/{coupon}", params="CouponModifyParams")
def update_coupon(ctx: Context) -> JsonObject:
    coupon = ctx.require(KIND, ctx.path["coupon"], "coupon")
    after = dict(coupon)
    if "name" in ctx.params:
        after["name"] = unset(ctx.params["name"])
    if "metadata" in ctx.params:
        after["metadata"] = merge_metadata(coupon["metadata"], ctx.params["metadata"])
    previous: dict[str, Any] = previous_attributes(coupon, after)
    if previous:
        ctx.store.put(KIND, after)
        ctx.emit("coupon.updated", after, previous)
    return after


@operation("DELETE", "/v1/coupons/{coupon}", params="CouponDeleteParams")
def delete_coupon(ctx: Context) -> JsonObject:
    """Delete a coupon; discounts that were given by it go on."""
    coupon = ctx.require(KIND, ctx.path["coupon"], "coupon")
    ctx.store.put("_deleted_coupon_terms", coupon)
    ctx.emit("coupon.deleted", coupon)
    return ctx.store.bury(KIND, coupon["id"])


@operation(
    "DELETE",
    "/v1/subscriptions/{subscription_exposed_id}/discount",
    params="SubscriptionDeleteDiscountParams",
)
def delete_subscription_discount(ctx: Context) -> JsonObject:
    """Take the discounts off a subscription; finalized invoices keep theirs."""
    subscription = ctx.require("subscription", ctx.path["subscription_exposed_id"], "id")
    if not subscription["discounts"]:
        raise StripeError(
            404, f"No active discount for subscription: {subscription['id']}", code="resource_missing"
        )
    discount = ctx.require("discount", subscription["discounts"][-1])
    before = snapshot(subscription)
    subscription["discounts"] = []
    change_subscription(ctx, subscription, before)
    return {**discount, "deleted": True}
