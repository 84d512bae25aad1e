"""Invoices to come, worked out by the real code on a view that forgets its changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sandbox.billing.calendar import next_boundary
from sandbox.billing.changing import Change, apply_change
from sandbox.billing.cycle import draft_for, turn_period
from sandbox.billing.diff import snapshot
from sandbox.billing.invoicing import Terms, invoice_lines, keep_lines, new_invoice
from sandbox.billing.items_due import cycle_lines, licensed_lines, pending_items, take_items
from sandbox.billing.overlay import WhatIf
from sandbox.billing.subscribing import Start, first_lines
from sandbox.billing.subscription_record import cycle_of, is_metered, items_of, save_subscription
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError


@dataclass(slots=True)
class PreviewRequest:
    """What is to be previewed; `arrange` puts extra invoice items into the what-if view."""

    customer: JsonObject
    subscription: JsonObject | None = None
    is_new: bool = False
    items: list[JsonObject] = field(default_factory=list)
    start: Start | None = None
    change: Change | None = None
    recurring_only: bool = False
    cancel_now: bool = False
    currency: str = "usd"
    discounts: list[str] | None = None
    arrange: Callable[[Context], None] | None = None


def preview_invoice(ctx: Context, request: PreviewRequest) -> JsonObject:
    """The invoice as it would be drafted, with all of its lines and the id `upcoming_in_...`; nothing is stored.

    Raises:
        StripeError: 404 `invoice_upcoming_none`, there will be no further invoice.
    """
    what_if = WhatIf(ctx)
    if request.arrange is not None:
        request.arrange(what_if)
    invoice = _draft(what_if, request)
    if request.discounts is not None:
        invoice["discounts"] = request.discounts
    lines = invoice_lines(what_if, invoice["id"])
    keep_lines(what_if, invoice, lines)
    for line in lines:
        line["id"] = line["id"].replace("il_", "il_tmp_", 1)
        line["invoice"] = None
    preview_id = invoice["id"].replace("in_", "upcoming_in_", 1)
    shown = {"object": "list", "data": lines, "has_more": False, "url": f"/v1/invoices/{preview_id}/lines"}
    return {**invoice, "id": preview_id, "lines": shown}


def _draft(ctx: Context, request: PreviewRequest) -> JsonObject:
    if request.subscription is None:
        return _pending_only(ctx, request)
    subscription = snapshot(request.subscription)
    ctx.store.put("subscription", subscription)
    if request.is_new:
        return _first_invoice(ctx, request, subscription)
    now = ctx.now_for(subscription["customer"])
    if request.cancel_now:
        return _final_invoice(ctx, subscription, now)
    if request.change is not None:
        known = subscription["latest_invoice"]
        apply_change(ctx, subscription, _copied(request.change), now)
        save_subscription(ctx, subscription)
        if subscription["latest_invoice"] != known:
            return ctx.require("invoice", subscription["latest_invoice"])
    if request.recurring_only:
        return _recurring(ctx, subscription)
    if subscription["status"] in ("canceled", "incomplete_expired"):
        raise no_upcoming(subscription)
    if subscription["cancel_at"] is not None and subscription["cancel_at"] <= subscription["_period_end"]:
        return _final_invoice(ctx, subscription, subscription["cancel_at"])
    return turn_period(ctx, subscription, subscription["_period_end"])


def no_upcoming(subscription: JsonObject | None) -> StripeError:
    """The 404 where nothing more will be invoiced."""
    holder = f"subscription: {subscription['id']}" if subscription else "customer"
    return StripeError(404, f"No upcoming invoices for {holder}", code="invoice_upcoming_none")


def _copied(change: Change) -> Change:
    items: list[JsonObject] = snapshot(change.items)
    return Change(items, change.proration, change.proration_date, change.reset_anchor, change.trial_end)


def _pending_only(ctx: Context, request: PreviewRequest) -> JsonObject:
    customer, now = request.customer, ctx.now_for(request.customer["id"])
    pending = pending_items(ctx, customer["id"], request.currency, None)
    if not pending:
        raise no_upcoming(None)
    invoice = new_invoice(ctx, customer, request.currency, Terms("manual", period=(now, now)), now)
    keep_lines(ctx, invoice, take_items(ctx, pending, invoice["id"]))
    return invoice


def _first_invoice(ctx: Context, request: PreviewRequest, subscription: JsonObject) -> JsonObject:
    assert request.start is not None
    for item in snapshot(request.items):
        ctx.store.put("subscription_item", item)
    _, interval, count = cycle_of(ctx, subscription)
    period = request.start.first_period(interval, count)
    subscription["_period_start"], subscription["_period_end"] = period
    save_subscription(ctx, subscription)
    if request.recurring_only:
        return _recurring(ctx, subscription)
    lines, now = first_lines(ctx, subscription, request.start), request.start.now
    return draft_for(ctx, subscription, lines, (now, now), now, "upcoming")


def _final_invoice(ctx: Context, subscription: JsonObject, at: int) -> JsonObject:
    period = (subscription["_period_start"], at)
    lines = cycle_lines(ctx, subscription, period, None, after_trial=subscription["status"] == "trialing")
    return draft_for(ctx, subscription, lines, period, at, "upcoming")


def _recurring(ctx: Context, subscription: JsonObject) -> JsonObject:
    """A later period's licences, without usage, prorations or invoice items."""
    anchor, interval, count = cycle_of(ctx, subscription)
    start = subscription["_period_end"]
    period = (start, next_boundary(anchor, interval, count, start))
    lines: list[JsonObject] = []
    for item in items_of(ctx, subscription["id"]):
        if not is_metered(item):
            lines += licensed_lines(ctx, subscription, item, period)
    for pending in pending_items(ctx, subscription["customer"], subscription["currency"], subscription["id"]):
        ctx.store.delete("invoiceitem", pending["id"])
    return draft_for(ctx, subscription, lines, period, start, "upcoming")
