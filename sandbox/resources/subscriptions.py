"""Subscriptions: created, changed, cancelled. The turning of their periods is in `sandbox.billing`."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sandbox.billing.balance import claim_currency
from sandbox.billing.changing import Change, apply_change
from sandbox.billing.collection import end_subscription, finalize_and_collect
from sandbox.billing.cycle import end_with_final_invoice
from sandbox.billing.diff import snapshot, undone_on_error
from sandbox.billing.discounts import apply_coupons
from sandbox.billing.invoice_items import new_invoice_item, priced_amount
from sandbox.billing.invoicing import save_invoice
from sandbox.billing.pricing import get_price, interval_of, plan_of, product_name, shown_price, usage_type
from sandbox.billing.subscribing import plan_start, start_subscription
from sandbox.billing.subscription_record import ENDED, change_subscription, items_of
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.routing import operation
from sandbox.engine.shapes import list_page
from sandbox.resources.customers import DELETE_HOOKS
from sandbox.resources.fields import filter_created, filter_equal, merge_metadata
from sandbox.resources.prices import add_price
from sandbox.resources.subscription_fields import (
    apply_end,
    apply_plain,
    blank_subscription,
    check_collection,
    refuse_not_covered,
)
from sandbox.resources.subscription_params import (
    check_items_together,
    check_quantity,
    check_tax_behavior,
    chosen_price,
    new_item,
    tax_rates,
)

KIND = "subscription"


@operation("POST", "/v1/subscriptions", params="SubscriptionCreateParams")
def create_subscription(ctx: Context) -> JsonObject:
    """Start a subscription and invoice its start at once.

    Raises:
        StripeError: 400 for contradictory parameters or nothing to charge; 402 for `error_if_incomplete`.
    """
    params = ctx.params
    refuse_not_covered(params)
    if not params.get("customer"):
        raise invalid("customer", "Missing required param: customer.", "parameter_missing")
    customer = ctx.require("customer", params["customer"], "customer")
    now = ctx.now_for(customer["id"])
    subscription_id = ctx.store.new_id("sub")
    given_items = params.get("items", [])
    items = [new_item(ctx, subscription_id, given, f"items[{n}]", now) for n, given in enumerate(given_items)]
    check_items_together(items)
    if params.get("currency", "").lower() not in ("", items[0]["price"]["currency"]):
        raise invalid("currency", "The prices of the items are in another currency.")
    check_collection(params.get("collection_method", "charge_automatically"), params)
    if params.get("default_payment_method"):
        ctx.require("payment_method", params["default_payment_method"], "default_payment_method")
    start = plan_start(params, now, *interval_of(items[0]["price"]))
    subscription = blank_subscription(subscription_id, customer, items[0]["price"]["currency"], now)
    subscription["start_date"] = start.start
    subscription["billing_cycle_anchor"] = start.anchor
    subscription["billing_cycle_anchor_config"] = params.get("billing_cycle_anchor_config")
    if start.trial_end is not None:
        subscription.update(status="trialing", trial_start=now, trial_end=start.trial_end)
    apply_plain(ctx, subscription, params)
    check_tax_behavior(items, subscription["default_tax_rates"])
    apply_end(subscription, params, start.first_period(*interval_of(items[0]["price"]))[1])
    discounts = params.get("discounts")
    subscription["discounts"] = apply_coupons(
        ctx, discounts, customer=customer["id"], at=now, subscription=subscription_id
    )
    customer = claim_currency(ctx, customer, subscription["currency"])
    _add_invoice_items(ctx, subscription, customer, params.get("add_invoice_items", []), now)
    return start_subscription(
        ctx, subscription, items, start, params.get("payment_behavior", "allow_incomplete")
    )


def _add_invoice_items(
    ctx: Context, subscription: JsonObject, customer: JsonObject, given: list[dict[str, Any]], now: int
) -> None:
    for position, entry in enumerate(given):
        param = f"add_invoice_items[{position}]"
        price = _one_time_price(ctx, entry, param)
        quantity, unit = Decimal(entry.get("quantity", 1)), Decimal(price["unit_amount_decimal"])
        item = new_invoice_item(
            ctx, customer, amount=priced_amount(unit, quantity), currency=price["currency"],
            description=product_name(ctx, price), period=(now, now), at=now, quantity=quantity, price=price,
            unit_amount=unit, subscription=subscription["id"],
        )  # fmt: skip
        item["metadata"] = merge_metadata({}, entry.get("metadata", {}))
        item["discountable"] = entry.get("discountable", True)
        ctx.store.put("invoiceitem", item)
        ctx.emit("invoiceitem.created", item)


def _one_time_price(ctx: Context, entry: dict[str, Any], param: str) -> JsonObject:
    if "price_data" in entry:
        return add_price(ctx, {**entry["price_data"], "active": False}, f"{param}[price_data]")
    if "price" not in entry:
        raise invalid(f"{param}[price]", f"Missing required param: {param}[price].", "parameter_missing")
    price = get_price(ctx, entry["price"], f"{param}[price]")
    if price["type"] != "one_time":
        raise invalid(f"{param}[price]", "This field only accepts prices with `type=one_time`.")
    return price


@operation("GET", "/v1/subscriptions/{subscription_exposed_id}", params="SubscriptionRetrieveParams")
def retrieve_subscription(ctx: Context) -> JsonObject:
    return _required(ctx)


def _required(ctx: Context) -> JsonObject:
    return ctx.require(KIND, ctx.path["subscription_exposed_id"], "id")


@operation("GET", "/v1/subscriptions", params="SubscriptionListParams")
def list_subscriptions(ctx: Context) -> JsonObject:
    """List subscriptions; without `status`, those that haven't been cancelled."""
    params = ctx.params
    if "customer" in params:
        found = ctx.store.find(KIND, "customer", params["customer"])
    else:
        found = ctx.store.all(KIND)
        if "test_clock" not in params:
            found = [subscription for subscription in found if subscription["test_clock"] is None]
    found = filter_created(
        filter_equal(found, params, "collection_method", "test_clock"), params.get("created")
    )
    status = params.get("status")
    if status == "ended":
        found = [subscription for subscription in found if subscription["status"] in ENDED]
    elif status is None:
        found = [subscription for subscription in found if subscription["status"] not in ENDED]
    elif status != "all":
        found = [subscription for subscription in found if subscription["status"] == status]
    if "price" in params or "plan" in params:
        wanted = params.get("price") or params["plan"]
        found = [s for s in found if any(item["price"]["id"] == wanted for item in s["items"]["data"])]
    for name in ("current_period_start", "current_period_end"):
        if name in params:
            found = filter_created(found, params[name], name.replace("current", ""))
    return list_page(ctx, found, "/v1/subscriptions")


@operation("POST", "/v1/subscriptions/{subscription_exposed_id}", params="SubscriptionModifyParams")
def update_subscription(ctx: Context) -> JsonObject:
    """Change a subscription; items with proration as `proration_behavior` says."""
    subscription, params = _required(ctx), ctx.params
    refuse_not_covered(params)
    now = ctx.now_for(subscription["customer"])
    if subscription["status"] in ENDED:
        only_metadata = set(params) <= {"metadata", "cancellation_details"}
        if not only_metadata:
            raise StripeError(
                400,
                "A canceled subscription can only update its cancellation_details and metadata.",
                code=None,
            )
    if "collection_method" in params:
        check_collection(params["collection_method"], params)
    if params.get("default_payment_method"):
        ctx.require("payment_method", params["default_payment_method"], "default_payment_method")
    with undone_on_error(subscription) as before:
        change = _change(ctx, subscription, params, now)
        apply_plain(ctx, subscription, params)
        check_tax_behavior(change.items, subscription["default_tax_rates"])
        apply_end(subscription, {**params, "canceled_at": now}, subscription["_period_end"])
        if "discounts" in params:
            subscription["discounts"] = apply_coupons(
                ctx,
                params["discounts"],
                customer=subscription["customer"],
                at=now,
                subscription=subscription["id"],
            )
        if params.get("add_invoice_items"):
            customer = ctx.require("customer", subscription["customer"])
            _add_invoice_items(ctx, subscription, customer, params["add_invoice_items"], now)
        apply_change(ctx, subscription, change, now)
    change_subscription(ctx, subscription, before)
    return subscription


def _change(ctx: Context, subscription: JsonObject, params: dict[str, Any], now: int) -> Change:
    return Change(
        items=changed_items(ctx, subscription, params.get("items", []), now),
        proration=params.get("proration_behavior", "create_prorations"),
        proration_date=params.get("proration_date", now),
        reset_anchor=params.get("billing_cycle_anchor") == "now",
        trial_end=params.get("trial_end"),
    )


def changed_items(
    ctx: Context, subscription: JsonObject, changes: list[dict[str, Any]], now: int
) -> list[JsonObject]:
    """Copies of a subscription's items as they are after the `items` of a request.

    Raises:
        StripeError: 400, an item is unknown or the items don't go together.
    """
    items = {item["id"]: snapshot(item) for item in items_of(ctx, subscription["id"])}
    for position, given in enumerate(changes):
        param = f"items[{position}]"
        if "id" not in given:
            item = new_item(ctx, subscription["id"], given, param, now)
            items[item["id"]] = item
        elif given["id"] not in items:
            raise invalid(f"{param}[id]", f"No such subscription item: '{given['id']}'", "resource_missing")
        elif given.get("deleted"):
            del items[given["id"]]
        else:
            update_item_fields(ctx, items[given["id"]], given, param)
    check_items_together(list(items.values()))
    return list(items.values())


def update_item_fields(ctx: Context, item: JsonObject, given: dict[str, Any], param: str) -> None:
    """Apply an item's parameters to a copy of it: price, quantity, metadata, tax rates."""
    if any(name in given for name in ("price", "plan", "price_data")):
        price = chosen_price(ctx, given, param)
        item["price"], item["plan"] = shown_price(price), plan_of(price)
    metered = usage_type(item["price"]) == "metered"
    check_quantity(given, metered, param)
    if metered:
        item.pop("quantity", None)
    else:
        item["quantity"] = given.get("quantity", item.get("quantity", 1))
    if "metadata" in given:
        item["metadata"] = merge_metadata(item["metadata"], given["metadata"])
    if "tax_rates" in given:
        item["tax_rates"] = tax_rates(ctx, given["tax_rates"], f"{param}[tax_rates]")


@operation("DELETE", "/v1/subscriptions/{subscription_exposed_id}", params="SubscriptionCancelParams")
def cancel_subscription(ctx: Context) -> JsonObject:
    """Cancel at once. `invoice_now` bills usage and pending items in a final invoice; `prorate` credits unused time."""
    subscription, params = _required(ctx), ctx.params
    if subscription["status"] in ENDED:
        raise StripeError(
            404, f"No such subscription: '{subscription['id']}'", code="resource_missing", param="id"
        )
    now = ctx.now_for(subscription["customer"])
    apply_plain(ctx, subscription, {k: v for k, v in params.items() if k == "cancellation_details"})
    if params.get("prorate"):
        nothing = Change([], "create_prorations", now, reset_anchor=False, trial_end=None)
        apply_change(ctx, subscription, nothing, now, ending=True)
    if params.get("invoice_now"):
        subscription["_cancelled_on_the_spot"] = now
        invoice = end_with_final_invoice(ctx, subscription, now)
        if invoice is not None:
            finalize_and_collect(ctx, invoice, now)
    else:
        end_subscription(ctx, subscription, now, reason="cancellation_requested")
    return subscription


def _cancel_all(ctx: Context, customer: JsonObject) -> None:
    for subscription in ctx.store.find(KIND, "customer", customer["id"]):
        if subscription["status"] not in ENDED:
            end_subscription(ctx, subscription, ctx.now_for(customer["id"]), reason="cancellation_requested")
    for invoice in ctx.store.find("invoice", "customer", customer["id"]):
        if invoice["status"] in ("draft", "open"):
            save_invoice(ctx, {**invoice, "auto_advance": False, "next_payment_attempt": None})


DELETE_HOOKS.append(_cancel_all)
