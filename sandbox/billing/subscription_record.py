"""Subscriptions in the store: their items, what they show of them, and when something is due.

`_period_start` and `_period_end` are the subscription's current period; Stripe shows it on the items.
"""

from __future__ import annotations

from sandbox.billing import due
from sandbox.billing.diff import previous_attributes, shown, snapshot
from sandbox.billing.pricing import get_price, interval_of, shown_price, usage_type
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject
from sandbox.engine.routing import on_load
from sandbox.engine.store import Store

ENDED = frozenset({"canceled", "incomplete_expired"})
INCOMPLETE_SECONDS = 23 * 3_600
TRIAL_NOTICE_SECONDS = 3 * 86_400


@on_load
def _declare(store: Store) -> None:
    store.index("subscription_item", "subscription")
    store.index("subscription", "customer")


def items_of(ctx: Context, subscription_id: str) -> list[JsonObject]:
    """The items of a subscription, oldest first."""
    return ctx.store.find("subscription_item", "subscription", subscription_id)


def is_metered(item: JsonObject) -> bool:
    """Whether an item is billed by usage, in arrears."""
    return usage_type(item["price"]) == "metered"


def cycle_of(ctx: Context, subscription: JsonObject) -> tuple[int, str, int]:
    """The anchor, interval and interval count that a subscription's periods follow."""
    items = items_of(ctx, subscription["id"])
    return (subscription["billing_cycle_anchor"], *interval_of(items[0]["price"]))


def subscription_due(subscription: JsonObject) -> int | None:
    """When a subscription next needs something done; epoch seconds, None once it has ended."""
    if subscription["status"] in ENDED or subscription["status"] == "paused":
        return None
    if subscription["status"] == "incomplete":
        expiry: int = subscription["created"] + INCOMPLETE_SECONDS
        return expiry
    moments: list[int] = [subscription["_period_end"]]
    if subscription["cancel_at"] is not None:
        moments.append(subscription["cancel_at"])
    if subscription["status"] == "trialing" and not subscription.get("_trial_noticed"):
        moments.append(max(subscription["trial_end"] - TRIAL_NOTICE_SECONDS, subscription["created"]))
    resumes_at = (subscription.get("pause_collection") or {}).get("resumes_at")
    if resumes_at is not None:
        moments.append(resumes_at)
    return min(moments)


def save_subscription(ctx: Context, subscription: JsonObject) -> None:
    """Store a subscription, show its items as they are now and note when it is due next."""
    items = []
    for item in items_of(ctx, subscription["id"]):
        item["current_period_start"] = subscription["_period_start"]
        item["current_period_end"] = subscription["_period_end"]
        ctx.store.put("subscription_item", item)
        items.append(shown(item))
    url = f"/v1/subscription_items?subscription={subscription['id']}"
    subscription["items"] = {
        "object": "list", "data": items, "has_more": False, "total_count": len(items), "url": url
    }  # fmt: skip
    ctx.store.put("subscription", subscription)
    due.wait(ctx, subscription, subscription_due(subscription))


def change_subscription(ctx: Context, subscription: JsonObject, before: JsonObject) -> None:
    """Store a changed subscription and tell about it; `before` is a snapshot from before the change."""
    save_subscription(ctx, subscription)
    previous = previous_attributes(before, subscription)
    if previous:
        ctx.emit("customer.subscription.updated", subscription, previous)


def set_status(ctx: Context, subscription: JsonObject, status: str) -> None:
    """Move a subscription to another status and tell about it; no event where it is there already."""
    if subscription["status"] == status:
        return
    before = snapshot(subscription)
    subscription["status"] = status
    change_subscription(ctx, subscription, before)


def embedded_price(ctx: Context, price_id: str) -> JsonObject:
    """The price as an item shows it."""
    return shown_price(get_price(ctx, price_id))
