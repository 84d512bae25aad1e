"""What a subscription puts on an invoice: its licensed items in advance, its metered items in arrears."""

from __future__ import annotations

from sandbox.billing.finalization import before_finalization
from sandbox.billing.lines import (
    LineSource,
    Period,
    free_line,
    invoice_item_line,
    invoice_item_of,
    period_lines,
    subscription_item_of,
)
from sandbox.billing.pricing import get_price, product_name, usage_type
from sandbox.billing.subscription_record import is_metered, items_of
from sandbox.billing.usage import usage_index
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject
from sandbox.engine.routing import on_load
from sandbox.engine.store import Store


@on_load
def _declare(store: Store) -> None:
    store.index("invoiceitem", "customer")
    store.index("invoiceitem", "invoice")


def source_of(ctx: Context, subscription: JsonObject, item: JsonObject) -> LineSource:
    """A subscription item as its lines need it."""
    price = get_price(ctx, item["price"]["id"])
    return LineSource(subscription["id"], item["id"], price, product_name(ctx, price), item["metadata"])


def used_quantity(ctx: Context, customer_id: str, price: JsonObject, period: Period) -> int:
    """What a customer used on a metered price's meter in a period, by the meter's formula."""
    meter = ctx.require("billing.meter", price["recurring"]["meter"])
    totals = usage_index(ctx.store).totals(meter["id"], customer_id, *period)
    return totals.value(meter["default_aggregation"]["formula"])


def metered_lines(
    ctx: Context, subscription: JsonObject, item: JsonObject, period: Period
) -> list[JsonObject]:
    """The lines of a metered item for an ended period; usage before the item was added is not its own.

    Where the subscription was cancelled on the spot, usage of that very second is still billed.
    """
    source = source_of(ctx, subscription, item)
    start, end = max(period[0], item.get("_usage_from") or 0), period[1]
    counted = (start, end + 1) if subscription.get("_cancelled_on_the_spot") == end else (start, end)
    quantity = used_quantity(ctx, subscription["customer"], dict(source.price), counted)
    return [_with_taxes(line, item) for line in period_lines(source, quantity, (start, end))]


def licensed_lines(
    ctx: Context, subscription: JsonObject, item: JsonObject, period: Period
) -> list[JsonObject]:
    """The lines of a licensed item for a whole period to come."""
    lines = period_lines(source_of(ctx, subscription, item), item["quantity"] or 0, period)
    return [_with_taxes(line, item) for line in lines]


def untouched_meter_line(ctx: Context, subscription: JsonObject, item: JsonObject, at: int) -> JsonObject:
    """The zero line with which a metered item appears on the first invoice, before any usage."""
    source = source_of(ctx, subscription, item)
    return free_line(source, 0, (at, at), f"0 × {source.product_name}")


def free_period_line(
    ctx: Context, subscription: JsonObject, item: JsonObject, period: Period, text: str
) -> JsonObject:
    """A free line for a stretch of time, `text` with the product's name in place of `{}`."""
    source = source_of(ctx, subscription, item)
    return free_line(source, item.get("quantity") or 0, period, text.format(source.product_name))


def _with_taxes(line: JsonObject, item: JsonObject) -> JsonObject:
    line["_tax_rates"] = [rate["id"] for rate in item.get("tax_rates") or []]
    return line


def pending_items(
    ctx: Context, customer_id: str, currency: str, subscription_id: str | None
) -> list[JsonObject]:
    """The customer's invoice items that wait for an invoice, oldest first.

    Items bound to another subscription are left for that one. Without a subscription, only free ones are given.
    """
    found = []
    for item in ctx.store.find("invoiceitem", "customer", customer_id):
        bound_to = ((item.get("parent") or {}).get("subscription_details") or {}).get("subscription")
        if item["invoice"] is None and item["currency"] == currency and bound_to in (None, subscription_id):
            found.append(item)
    return found


def take_items(ctx: Context, items: list[JsonObject], invoice_id: str) -> list[JsonObject]:
    """Bind pending invoice items to an invoice and return their lines."""
    for item in items:
        item["invoice"] = invoice_id
        ctx.store.put("invoiceitem", item)
    return [invoice_item_line(item) for item in items]


@before_finalization
def refresh_usage(ctx: Context, invoice: JsonObject, lines: list[JsonObject]) -> list[JsonObject]:
    """Rate the metered lines of a draft anew, so that usage reported in its last hour is billed on it.

    A line keeps its id where its tier is still reached. Other lines, and the order, stay.
    """
    subscription = ctx.store.get("subscription", invoice.get("_subscription") or "")
    if subscription is None or invoice["billing_reason"] != "subscription_cycle":
        return lines
    fresh: list[JsonObject] = []
    done: set[tuple[str, int]] = set()
    for line in lines:
        rerated = None if invoice_item_of(line) else _rate_anew(ctx, invoice, subscription, line)
        if rerated is None:
            fresh.append(line)
            continue
        key = (subscription_item_of(line) or "", line["period"]["start"])
        if key not in done:
            done.add(key)
            fresh.extend(_keep_ids(rerated, [old for old in lines if subscription_item_of(old) == key[0]]))
    return fresh


def _rate_anew(
    ctx: Context, invoice: JsonObject, subscription: JsonObject, line: JsonObject
) -> list[JsonObject] | None:
    """The lines of a metered item as its usage stands now; None where the line is not one of metered usage."""
    price = get_price(ctx, line["pricing"]["price_details"]["price"])
    if usage_type(price) != "metered" or line.get("_free"):
        return None
    item = ctx.store.get("subscription_item", subscription_item_of(line) or "")
    if item is None:
        return None
    period = (line["period"]["start"], line["period"]["end"])
    return metered_lines(ctx, subscription, item, period)


def _keep_ids(fresh: list[JsonObject], old: list[JsonObject]) -> list[JsonObject]:
    for new, former in zip(fresh, old, strict=False):
        new["id"] = former["id"]
    return fresh


def cycle_lines(
    ctx: Context, subscription: JsonObject, ended: Period, following: Period | None, *, after_trial: bool
) -> list[JsonObject]:
    """The subscription's own lines at the turn of a period: usage of the ended one, licences of the following one.

    Usage within a trial is shown and not billed. Without a following period only usage is billed.
    """
    lines: list[JsonObject] = []
    for item in items_of(ctx, subscription["id"]):
        if not is_metered(item):
            if following is not None:
                lines += licensed_lines(ctx, subscription, item, following)
        elif after_trial:
            quantity = used_quantity(ctx, subscription["customer"], item["price"], ended)
            source = source_of(ctx, subscription, item)
            line = free_line(source, quantity, ended, f"Trial period for {source.product_name}")
            lines.append({**line, "_free": True})
        else:
            lines += metered_lines(ctx, subscription, item, ended)
    return lines
