"""A change in the middle of a period: credits for what was paid and not used, charges for what replaces it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sandbox.billing.calendar import day_text, next_boundary
from sandbox.billing.collection import finalize_and_collect
from sandbox.billing.cycle import draft_for
from sandbox.billing.invoice_items import new_invoice_item
from sandbox.billing.items_due import cycle_lines
from sandbox.billing.pricing import get_price, interval_of, product_name
from sandbox.billing.proration import prorate, share_of_cycles
from sandbox.billing.subscription_record import cycle_of, is_metered, items_of
from sandbox.billing.tiers import exact_amount
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, invalid


@dataclass(frozen=True, slots=True)
class Change:
    """How a subscription is to look: all of its items, and what happens to its period."""

    items: list[JsonObject]
    proration: str
    proration_date: int
    reset_anchor: bool
    trial_end: Any


def apply_change(
    ctx: Context, subscription: JsonObject, change: Change, now: int, *, ending: bool = False
) -> JsonObject | None:
    """Prorate, exchange the items and move the period as `change` says; returns the invoice where one is made at once.

    With `ending` every licensed item is credited and the items stay. The caller stores the subscription.

    Raises:
        StripeError: 400, the proration date lies outside the current period, or a trial would end in the past.
    """
    old = {item["id"]: item for item in items_of(ctx, subscription["id"])}
    new = {} if ending else {item["id"]: item for item in change.items}
    was_trialing = subscription["status"] == "trialing"
    rhythm_changed = (
        not ending and interval_of(next(iter(new.values()))["price"]) != cycle_of(ctx, subscription)[1:]
    )
    restarts = rhythm_changed or change.reset_anchor
    if change.proration != "none" and not was_trialing:
        _check_date(subscription, change.proration_date)
        changed = {
            id
            for id in old.keys() | new.keys()
            if ending or restarts or _costs_differ(old.get(id), new.get(id))
        }
        _prorate(
            ctx, subscription, old, {} if restarts or _starts_trial(change) else new, changed, change, now
        )
    if ending:
        return None
    _exchange(ctx, old, new, now)
    if change.trial_end is not None:
        return _move_trial(ctx, subscription, change.trial_end, now)
    if restarts and not was_trialing:
        return _restart_period(ctx, subscription, now)
    if change.proration == "always_invoice" and not was_trialing:
        period = (subscription["_period_start"], now)
        invoice = draft_for(ctx, subscription, [], period, now, "subscription_update")
        subscription["latest_invoice"] = invoice["id"]
        return finalize_and_collect(ctx, invoice, now)
    return None


def _starts_trial(change: Change) -> bool:
    return change.trial_end not in (None, "now")


def _check_date(subscription: JsonObject, proration_date: int) -> None:
    if not subscription["_period_start"] <= proration_date <= subscription["_period_end"]:
        raise invalid(
            "proration_date", "Invalid proration_date: it must lie within the subscription's current period."
        )


def _costs_differ(old: JsonObject | None, new: JsonObject | None) -> bool:
    if old is None or new is None:
        return True
    return bool(old["price"]["id"] != new["price"]["id"] or old.get("quantity") != new.get("quantity"))


def _prorate(
    ctx: Context,
    subscription: JsonObject,
    old: dict[str, JsonObject],
    new: dict[str, JsonObject],
    changed: set[str],
    change: Change,
    now: int,
) -> None:
    for item_id in [*old, *(id for id in new if id not in old)]:
        if item_id not in changed:
            continue
        before, after = old.get(item_id), new.get(item_id)
        if before is not None and not is_metered(before):
            _proration_item(ctx, subscription, before, change.proration_date, now, credit=True)
        if after is not None and not is_metered(after):
            _proration_item(ctx, subscription, after, change.proration_date, now, credit=False)


def _proration_item(
    ctx: Context, subscription: JsonObject, item: JsonObject, since: int, now: int, *, credit: bool
) -> None:
    """Store one pending invoice item for the rest of the period from `since`."""
    price = get_price(ctx, item["price"]["id"])
    anchor, interval, count = cycle_of(ctx, subscription)
    end = subscription["_period_end"]
    share = share_of_cycles(since, end, anchor=anchor, interval=interval, interval_count=count)
    quantity = item.get("quantity") or 0
    amount = prorate(exact_amount(price, quantity), share)
    what = f"{quantity} × {product_name(ctx, price)}" if quantity != 1 else product_name(ctx, price)
    entry = new_invoice_item(
        ctx,
        ctx.require("customer", subscription["customer"]),
        amount=-amount if credit else amount,
        currency=price["currency"],
        description=f"{'Unused' if credit else 'Remaining'} time on {what} after {day_text(since)}",
        period=(since, end),
        at=now,
        price=price,
        subscription=subscription["id"],
        subscription_item=item["id"],
        proration=True,
    )
    entry["quantity"], entry["quantity_decimal"] = quantity, str(quantity)
    ctx.store.put("invoiceitem", entry)
    ctx.emit("invoiceitem.created", entry)


def _exchange(ctx: Context, old: dict[str, JsonObject], new: dict[str, JsonObject], now: int) -> None:
    for item_id in old.keys() - new.keys():
        ctx.store.delete("subscription_item", item_id)
    for item_id, item in new.items():
        if is_metered(item) and (item_id not in old or not is_metered(old[item_id])):
            item["_usage_from"] = now
        ctx.store.put("subscription_item", item)


def _restart_period(ctx: Context, subscription: JsonObject, now: int) -> JsonObject:
    """Start a new period now and invoice it at once, with the usage of the period that was cut short."""
    ended = (subscription["_period_start"], now)
    subscription["billing_cycle_anchor"] = now
    subscription["billing_cycle_anchor_config"] = None
    anchor, interval, count = cycle_of(ctx, subscription)
    following = (now, next_boundary(anchor, interval, count, now))
    lines = cycle_lines(ctx, subscription, ended, following, after_trial=False)
    _open_period(subscription, following)
    invoice = draft_for(ctx, subscription, lines, ended, now, "subscription_update")
    subscription["latest_invoice"] = invoice["id"]
    return finalize_and_collect(ctx, invoice, now)


def _open_period(subscription: JsonObject, period: tuple[int, int]) -> None:
    subscription["_period_start"], subscription["_period_end"] = period
    if subscription["cancel_at_period_end"]:
        subscription["cancel_at"] = period[1]


def _move_trial(ctx: Context, subscription: JsonObject, trial_end: Any, now: int) -> JsonObject | None:
    """End the trial now, or let it run until `trial_end`."""
    if trial_end == "now":
        if subscription["status"] != "trialing":
            return None
        subscription["trial_end"] = now
        ended = (subscription["_period_start"], now)
        subscription["billing_cycle_anchor"] = now
        anchor, interval, count = cycle_of(ctx, subscription)
        following = (now, next_boundary(anchor, interval, count, now))
        lines = cycle_lines(ctx, subscription, ended, following, after_trial=True)
        subscription["status"] = "active"
        _open_period(subscription, following)
        invoice = draft_for(ctx, subscription, lines, ended, now, "subscription_update")
        subscription["latest_invoice"] = invoice["id"]
        return finalize_and_collect(ctx, invoice, now)
    if trial_end <= now:
        raise invalid("trial_end", "Invalid timestamp: must be an integer Unix timestamp in the future.")
    subscription["trial_start"] = subscription["trial_start"] or now
    subscription["trial_end"] = subscription["billing_cycle_anchor"] = trial_end
    subscription["status"] = "trialing"
    subscription.pop("_trial_noticed", None)
    _open_period(subscription, (subscription["_period_start"], trial_end))
    return None
