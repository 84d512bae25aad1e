"""What a request for a preview means: a subscription as it is, one that is changed, or one that isn't there yet."""

from __future__ import annotations

from typing import Any

from sandbox.billing.changing import Change
from sandbox.billing.discounts import apply_coupons
from sandbox.billing.preview import PreviewRequest
from sandbox.billing.pricing import interval_of
from sandbox.billing.subscribing import plan_start
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, invalid
from sandbox.resources.fields import merge_metadata
from sandbox.resources.invoice_items import build_item
from sandbox.resources.subscription_fields import blank_subscription
from sandbox.resources.subscription_params import check_items_together, new_item, tax_rates
from sandbox.resources.subscriptions import changed_items

NOT_COVERED = ("schedule", "schedule_details", "customer_details", "automatic_tax")


def preview_request(ctx: Context) -> PreviewRequest:
    """Read the parameters of `POST /v1/invoices/create_preview`.

    Raises:
        StripeError: something named doesn't exist, or nothing says whose invoice is meant.
    """
    params = ctx.params
    for name in NOT_COVERED:
        if params.get(name):
            raise invalid(name, f"The sandbox does not cover `{name}` in previews.")
    subscription = None
    if params.get("subscription"):
        subscription = ctx.require("subscription", params["subscription"], "subscription")
    customer_id = params.get("customer") or (subscription or {}).get("customer")
    if not customer_id:
        raise invalid("customer", "You must specify `customer` or `subscription`.", "parameter_missing")
    customer = ctx.require("customer", customer_id, "customer")
    subscription = subscription or _only_subscription(ctx, customer)
    request = PreviewRequest(
        customer,
        subscription,
        recurring_only=params.get("preview_mode") == "recurring",
        currency=(params.get("currency") or customer.get("currency") or "usd").lower(),
    )
    now = ctx.now_for(customer_id)
    details = params.get("subscription_details") or {}
    if subscription is not None:
        _read_change(ctx, request, subscription, details, now)
    elif details.get("items"):
        _read_new(ctx, request, customer, details, now)
    if params.get("discounts") is not None:
        request.discounts = apply_coupons(ctx, params["discounts"], customer=customer_id, at=now)
    if params.get("invoice_items"):
        request.arrange = lambda view: _add_items(view, request, params["invoice_items"])
    return request


def _only_subscription(ctx: Context, customer: JsonObject) -> JsonObject | None:
    """Without a subscription or items, the customer's next invoice is meant."""
    if (ctx.params.get("subscription_details") or {}).get("items"):
        return None
    live = [
        subscription
        for subscription in ctx.store.find("subscription", "customer", customer["id"])
        if subscription["status"] not in ("canceled", "incomplete_expired", "incomplete")
    ]
    return min(live, key=lambda subscription: subscription["_period_end"], default=None)


def _read_change(
    ctx: Context, request: PreviewRequest, subscription: JsonObject, details: dict[str, Any], now: int
) -> None:
    request.cancel_now = bool(details.get("cancel_now"))
    if details.get("cancel_at_period_end"):
        request.subscription = {**subscription, "cancel_at": subscription["_period_end"]}
    if isinstance(details.get("cancel_at"), int):
        request.subscription = {**subscription, "cancel_at": details["cancel_at"]}
    if "items" in details or details.get("billing_cycle_anchor") == "now" or "trial_end" in details:
        request.change = Change(
            items=changed_items(ctx, subscription, details.get("items", []), now),
            proration=details.get("proration_behavior", "create_prorations"),
            proration_date=details.get("proration_date", now),
            reset_anchor=details.get("billing_cycle_anchor") == "now",
            trial_end=details.get("trial_end"),
        )


def _read_new(
    ctx: Context, request: PreviewRequest, customer: JsonObject, details: dict[str, Any], now: int
) -> None:
    subscription_id = ctx.store.new_id("sub")
    items = [
        new_item(ctx, subscription_id, given, f"subscription_details[items][{position}]", now)
        for position, given in enumerate(details["items"])
    ]
    check_items_together(items)
    start_params: dict[str, Any] = {
        name: details[name] for name in ("trial_end", "proration_behavior") if name in details
    }
    if isinstance(details.get("billing_cycle_anchor"), int):
        start_params["billing_cycle_anchor"] = details["billing_cycle_anchor"]
    if "start_date" in details:
        start_params["backdate_start_date"] = details["start_date"]
    start = plan_start(start_params, now, *interval_of(items[0]["price"]))
    subscription = blank_subscription(subscription_id, customer, items[0]["price"]["currency"], now)
    subscription["start_date"], subscription["billing_cycle_anchor"] = start.start, start.anchor
    subscription["billing_cycle_anchor_config"] = None
    if start.trial_end is not None:
        subscription.update(status="trialing", trial_start=now, trial_end=start.trial_end)
    subscription["metadata"] = merge_metadata({}, details.get("metadata", {}))
    rates = details.get("default_tax_rates")
    subscription["default_tax_rates"] = tax_rates(ctx, rates, "subscription_details[default_tax_rates]")
    request.subscription, request.is_new, request.items, request.start = subscription, True, items, start


def _add_items(view: Context, request: PreviewRequest, given: list[dict[str, Any]]) -> None:
    currency = request.subscription["currency"] if request.subscription else request.currency
    for entry in given:
        if entry.get("invoiceitem"):
            view.require("invoiceitem", entry["invoiceitem"], "invoice_items[invoiceitem]")
            continue
        view.store.put("invoiceitem", build_item(view, request.customer, {"currency": currency, **entry}))
