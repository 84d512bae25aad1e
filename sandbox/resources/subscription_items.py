"""Subscription items on their own; each change goes through its subscription, with the same prorations."""

from __future__ import annotations

from typing import Any

from sandbox.billing.changing import Change, apply_change
from sandbox.billing.diff import snapshot
from sandbox.billing.subscription_record import ENDED, change_subscription, items_of
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.routing import operation
from sandbox.engine.shapes import list_page
from sandbox.resources.subscription_params import check_items_together, check_tax_behavior, new_item
from sandbox.resources.subscriptions import update_item_fields

KIND = "subscription_item"


@operation("POST", "/v1/subscription_items", params="SubscriptionItemCreateParams")
def create_subscription_item(ctx: Context) -> JsonObject:
    subscription = _open_subscription(ctx, ctx.params["subscription"], "subscription")
    now = ctx.now_for(subscription["customer"])
    item = new_item(ctx, subscription["id"], ctx.params, "", now)
    items = [snapshot(other) for other in items_of(ctx, subscription["id"])]
    return _replace(ctx, subscription, [*items, item], now, item["id"])


@operation("GET", "/v1/subscription_items", params="SubscriptionItemListParams")
def list_subscription_items(ctx: Context) -> JsonObject:
    subscription = ctx.require("subscription", ctx.params["subscription"], "subscription")
    return list_page(ctx, items_of(ctx, subscription["id"]), "/v1/subscription_items")


@operation("GET", "/v1/subscription_items/{item}", params="SubscriptionItemRetrieveParams")
def retrieve_subscription_item(ctx: Context) -> JsonObject:
    return ctx.require(KIND, ctx.path["item"])


@operation("POST", "/v1/subscription_items/{item}", params="SubscriptionItemModifyParams")
def update_subscription_item(ctx: Context) -> JsonObject:
    found = ctx.require(KIND, ctx.path["item"])
    subscription = _open_subscription(ctx, found["subscription"], "item")
    items = [snapshot(other) for other in items_of(ctx, subscription["id"])]
    item = next(other for other in items if other["id"] == found["id"])
    update_item_fields(ctx, item, ctx.params, "")
    return _replace(ctx, subscription, items, ctx.now_for(subscription["customer"]), item["id"])


@operation("DELETE", "/v1/subscription_items/{item}", params="SubscriptionItemDeleteParams")
def delete_subscription_item(ctx: Context) -> JsonObject:
    found = ctx.require(KIND, ctx.path["item"])
    subscription = _open_subscription(ctx, found["subscription"], "item")
    items = [snapshot(other) for other in items_of(ctx, subscription["id"]) if other["id"] != found["id"]]
    if not items:
        raise invalid(
            "item", "A subscription must have at least one active plan. Cancel the subscription instead."
        )
    _replace(ctx, subscription, items, ctx.now_for(subscription["customer"]), None)
    return ctx.store.bury(KIND, found["id"])


def _open_subscription(ctx: Context, subscription_id: str, param: str) -> JsonObject:
    subscription = ctx.require("subscription", subscription_id, param)
    if subscription["status"] in ENDED:
        raise StripeError(400, "The items of a canceled subscription cannot be changed.")
    return subscription


def _replace(
    ctx: Context, subscription: JsonObject, items: list[JsonObject], now: int, item_id: str | None
) -> JsonObject:
    check_items_together(items)
    check_tax_behavior(items, subscription["default_tax_rates"])
    params: dict[str, Any] = ctx.params
    before = snapshot(subscription)
    change = Change(
        items=items,
        proration=params.get("proration_behavior", "create_prorations"),
        proration_date=params.get("proration_date", now),
        reset_anchor=False,
        trial_end=None,
    )
    apply_change(ctx, subscription, change, now)
    change_subscription(ctx, subscription, before)
    return ctx.require(KIND, item_id) if item_id else {}
