"""The turn of a subscription's period, and its end."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.billing import due
from sandbox.billing.calendar import next_boundary
from sandbox.billing.collection import end_subscription
from sandbox.billing.diff import snapshot
from sandbox.billing.discounts import take_discounts
from sandbox.billing.invoicing import Terms, keep_lines, new_invoice, save_invoice, show_tax_rates
from sandbox.billing.items_due import cycle_lines, pending_items, take_items
from sandbox.billing.lines import Period
from sandbox.billing.subscription_record import (
    TRIAL_NOTICE_SECONDS,
    change_subscription,
    cycle_of,
    is_metered,
    items_of,
    save_subscription,
)
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject


@due.due_work("subscription")
def advance_subscription(ctx: Context, subscription: JsonObject, at: int) -> None:
    """Do what a subscription waits for; one thing at a time, the next is noted when it is stored."""
    if subscription["status"] == "incomplete":
        _expire(ctx, subscription, at)
    elif _trial_notice_due(subscription, at):
        subscription["_trial_noticed"] = True
        save_subscription(ctx, subscription)
        ctx.emit("customer.subscription.trial_will_end", subscription)
    elif subscription["cancel_at"] is not None and at >= subscription["cancel_at"]:
        end_with_final_invoice(ctx, subscription, at)
    elif at >= subscription["_period_end"]:
        turn_period(ctx, subscription, at)
    else:
        _resume_collection(ctx, subscription)


def _expire(ctx: Context, subscription: JsonObject, at: int) -> None:
    """A first invoice that wasn't paid within 23 hours: the subscription never came to be."""
    from sandbox.billing.collection import void_invoice

    end_subscription(ctx, subscription, at, reason="payment_failed", status="incomplete_expired")
    invoice = ctx.store.get("invoice", subscription["latest_invoice"] or "")
    if invoice is not None and invoice["status"] == "open":
        void_invoice(ctx, invoice, at)


def _trial_notice_due(subscription: JsonObject, at: int) -> bool:
    return (
        subscription["status"] == "trialing"
        and not subscription.get("_trial_noticed")
        and at >= subscription["trial_end"] - TRIAL_NOTICE_SECONDS
    )


def _resume_collection(ctx: Context, subscription: JsonObject) -> None:
    before = snapshot(subscription)
    subscription["pause_collection"] = None
    change_subscription(ctx, subscription, before)


def turn_period(ctx: Context, subscription: JsonObject, at: int) -> JsonObject:
    """Close the period that ends at `at`, open the next one and draft the invoice between them."""
    before = snapshot(subscription)
    ended = (subscription["_period_start"], at)
    anchor, interval, count = cycle_of(ctx, subscription)
    following = (at, next_boundary(anchor, interval, count, at))
    after_trial = subscription["status"] == "trialing"
    lines = cycle_lines(ctx, subscription, ended, following, after_trial=after_trial)
    invoice = draft_for(ctx, subscription, lines, ended, at, "subscription_cycle")
    subscription["_period_start"], subscription["_period_end"] = following
    subscription["latest_invoice"] = invoice["id"]
    if after_trial:
        subscription["status"] = "active"
    change_subscription(ctx, subscription, before)
    return invoice


def draft_for(
    ctx: Context,
    subscription: JsonObject,
    lines: list[JsonObject],
    period: Period,
    at: int,
    reason: str,
    *,
    announce: Callable[[Context, JsonObject, JsonObject], None] | None = None,
) -> JsonObject:
    """Store a draft for a subscription with its lines and the customer's pending invoice items; `invoice.created`.

    `announce` runs before that event, with the subscription and the stored draft.
    """
    customer = ctx.require("customer", subscription["customer"])
    invoice = new_invoice(
        ctx, customer, subscription["currency"], terms_of(subscription, period, reason), at, subscription
    )
    give_subscription_settings(ctx, invoice, subscription)
    invoice["discounts"] = take_discounts(ctx, subscription, at) or invoice["discounts"]
    pending = pending_items(ctx, customer["id"], subscription["currency"], subscription["id"])
    keep_lines(ctx, invoice, take_items(ctx, pending, invoice["id"]) + lines)
    save_invoice(ctx, invoice)
    if announce is not None:
        announce(ctx, subscription, invoice)
    ctx.emit("invoice.created", invoice)
    return invoice


def terms_of(subscription: JsonObject, period: Period, reason: str) -> Terms:
    """How a subscription's invoices are collected. Paused or unpaid ones stay drafts until somebody finalizes them."""
    pause = subscription.get("pause_collection") or {}
    held = subscription["status"] == "unpaid" or pause.get("behavior") == "keep_as_draft"
    return Terms(
        billing_reason=reason,
        collection_method=subscription["collection_method"],
        days_until_due=subscription["days_until_due"],
        auto_advance=not held,
        period=period,
    )


def give_subscription_settings(ctx: Context, invoice: JsonObject, subscription: JsonObject) -> None:
    """Hand down what a subscription decides for its invoices: tax rates, discounts, printed texts."""
    show_tax_rates(ctx, invoice, [rate["id"] for rate in subscription["default_tax_rates"] or []])
    customer = ctx.store.get("customer", subscription["customer"]) or {}
    customer_discount = customer.get("discount")
    inherited = [customer_discount["id"]] if customer_discount else []
    invoice["discounts"] = inherited
    settings = subscription["invoice_settings"]
    invoice["description"] = settings.get("description")
    for name in ("custom_fields", "footer"):
        if settings.get(name) is not None:
            invoice[name] = snapshot(settings[name])


def end_with_final_invoice(ctx: Context, subscription: JsonObject, at: int) -> JsonObject | None:
    """Cancel a subscription at `at` and draft the invoice for its usage and pending items, where there are any."""
    period = (subscription["_period_start"], at)
    on_trial = subscription["status"] == "trialing"
    invoice = None
    has_usage = any(is_metered(item) for item in items_of(ctx, subscription["id"])) and not on_trial
    if has_usage or pending_items(
        ctx, subscription["customer"], subscription["currency"], subscription["id"]
    ):
        lines = cycle_lines(ctx, subscription, period, None, after_trial=on_trial)
        invoice = draft_for(ctx, subscription, lines, period, at, "subscription_cycle")
        subscription["latest_invoice"] = invoice["id"]
    end_subscription(ctx, subscription, at, reason="cancellation_requested")
    return invoice
