"""Invoice items: amounts for a customer's next invoice, or for a draft that is named."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sandbox.billing.balance import claim_currency
from sandbox.billing.diff import previous_attributes, snapshot
from sandbox.billing.invoice_items import new_invoice_item, priced_amount
from sandbox.billing.invoicing import change_invoice, invoice_lines, keep_lines
from sandbox.billing.lines import invoice_item_line, invoice_item_of
from sandbox.billing.pricing import get_price, product_name
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.routing import operation
from sandbox.engine.shapes import list_page
from sandbox.resources.fields import filter_created, merge_metadata, unset
from sandbox.resources.prices import add_price
from sandbox.resources.subscription_params import tax_rates

KIND = "invoiceitem"


@operation("POST", "/v1/invoiceitems", params="InvoiceItemCreateParams")
def create_invoice_item(ctx: Context) -> JsonObject:
    params = ctx.params
    if not params.get("customer"):
        raise invalid("customer", "Missing required param: customer.", "parameter_missing")
    customer = ctx.require("customer", params["customer"], "customer")
    invoice = _draft(ctx, params["invoice"]) if params.get("invoice") else None
    if params.get("subscription"):
        ctx.require("subscription", params["subscription"], "subscription")
    item = build_item(ctx, customer, params)
    if invoice is not None and invoice["currency"] != item["currency"]:
        raise invalid("currency", "The currency of the invoice item must match that of the invoice.")
    claim_currency(ctx, customer, item["currency"])
    ctx.store.put(KIND, item)
    if invoice is not None:
        _put_on(ctx, item, invoice)
    ctx.emit("invoiceitem.created", item)
    return item


def build_item(ctx: Context, customer: JsonObject, params: dict[str, Any]) -> JsonObject:
    """An invoice item from its parameters, not yet stored: an exact `amount`, or a price and a quantity.

    Raises:
        StripeError: 400, neither is given, or both.
    """
    now = ctx.now_for(customer["id"])
    price_id = params.get("price") or (params.get("pricing") or {}).get("price")
    quantity = Decimal(str(params.get("quantity_decimal") or params.get("quantity", 1)))
    price: JsonObject | None = None
    unit: Decimal | None = None
    if params.get("price_data"):
        price = add_price(ctx, {**params["price_data"], "active": False}, "price_data")
    elif price_id:
        price = get_price(ctx, price_id, "pricing[price]")
        if price["type"] != "one_time":
            raise invalid("pricing[price]", "This field only accepts prices with `type=one_time`.")
    if price is not None:
        unit = Decimal(price["unit_amount_decimal"])
    elif params.get("unit_amount_decimal") or params.get("unit_amount") is not None:
        unit = Decimal(str(params.get("unit_amount_decimal") or params["unit_amount"]))
    if (params.get("amount") is None) == (unit is None):
        message = (
            "You must pass exactly one of `amount`, `pricing[price]`, `price_data` or `unit_amount_decimal`."
        )
        raise invalid("amount", message, "parameter_missing" if unit is None else "parameters_exclusive")
    amount = params["amount"] if unit is None else priced_amount(unit, quantity)
    currency = price["currency"] if price else params.get("currency") or customer.get("currency") or "usd"
    period = params.get("period") or {"start": now, "end": now}
    item = new_invoice_item(
        ctx, customer, amount=amount, currency=currency.lower(), at=now, quantity=quantity, price=price,
        description=params.get("description") or (product_name(ctx, price) if price else None),
        period=(period["start"], period["end"]), unit_amount=unit, subscription=params.get("subscription"),
    )  # fmt: skip
    item["discountable"] = params.get("discountable", amount >= 0)
    item["metadata"] = merge_metadata({}, params.get("metadata", {}))
    item["tax_rates"] = tax_rates(ctx, params.get("tax_rates"), "tax_rates")
    item["_tax_rates"] = [rate["id"] for rate in item["tax_rates"]]
    return item


def _draft(ctx: Context, invoice_id: str) -> JsonObject:
    invoice = ctx.require("invoice", invoice_id, "invoice")
    if invoice["status"] != "draft":
        raise StripeError(
            400, "This invoice is no longer editable.", code="invoice_not_editable", param="invoice"
        )
    return invoice


def _put_on(ctx: Context, item: JsonObject, invoice: JsonObject) -> None:
    """Show an invoice item as the last line of a draft, in place of the line it has there already."""
    item["invoice"] = invoice["id"]
    ctx.store.put(KIND, item)
    before = snapshot(invoice)
    lines = invoice_lines(ctx, invoice["id"])
    fresh = invoice_item_line(item)
    position = next((n for n, line in enumerate(lines) if invoice_item_of(line) == item["id"]), None)
    if position is None:
        lines.append(fresh)
    else:
        lines[position] = {**fresh, "id": lines[position]["id"]}
    keep_lines(ctx, invoice, lines)
    change_invoice(ctx, invoice, before)


@operation("GET", "/v1/invoiceitems/{invoiceitem}", params="InvoiceItemRetrieveParams")
def retrieve_invoice_item(ctx: Context) -> JsonObject:
    return ctx.require(KIND, ctx.path["invoiceitem"])


@operation("GET", "/v1/invoiceitems", params="InvoiceItemListParams")
def list_invoice_items(ctx: Context) -> JsonObject:
    """List invoice items of a `customer` or an `invoice`; `pending` keeps those that (don't) wait for one."""
    params = ctx.params
    if "invoice" in params:
        found = ctx.store.find(KIND, "invoice", params["invoice"])
        if "customer" in params:
            found = [item for item in found if item["customer"] == params["customer"]]
    elif "customer" in params:
        found = ctx.store.find(KIND, "customer", params["customer"])
    else:
        found = ctx.store.all(KIND)
    if "pending" in params:
        found = [item for item in found if (item["invoice"] is None) == params["pending"]]
    return list_page(ctx, filter_created(found, params.get("created"), "date"), "/v1/invoiceitems")


@operation("POST", "/v1/invoiceitems/{invoiceitem}", params="InvoiceItemModifyParams")
def update_invoice_item(ctx: Context) -> JsonObject:
    item, params = ctx.require(KIND, ctx.path["invoiceitem"]), ctx.params
    invoice = _draft(ctx, item["invoice"]) if item["invoice"] else None
    before = snapshot(item)
    item = {**item}
    for name in ("description", "discountable", "period"):
        if name in params:
            item[name] = params[name]
    if "metadata" in params:
        item["metadata"] = merge_metadata(item["metadata"], params["metadata"])
    if "tax_rates" in params:
        item["tax_rates"] = tax_rates(ctx, unset(params["tax_rates"]), "tax_rates")
        item["_tax_rates"] = [rate["id"] for rate in item["tax_rates"]]
    _reprice(ctx, item, params)
    ctx.store.put(KIND, item)
    if invoice is not None:
        _put_on(ctx, item, invoice)
    if previous_attributes(before, item):
        ctx.emit("invoiceitem.updated", item, previous_attributes(before, item))
    return item


PRICED = ("amount", "quantity", "quantity_decimal", "pricing", "price_data", "unit_amount_decimal")


def _reprice(ctx: Context, item: JsonObject, params: dict[str, Any]) -> None:
    given = {name: params[name] for name in PRICED if name in params}
    if not given:
        return
    if "quantity" not in given and "quantity_decimal" not in given:
        given["quantity_decimal"] = item["quantity_decimal"]
    if not {"amount", "pricing", "price_data", "unit_amount_decimal"} & set(given):
        unit = (item["pricing"] or {}).get("unit_amount_decimal")
        if unit is None:
            raise invalid(
                "quantity", "The quantity of an invoice item with an exact amount cannot be changed."
            )
        given["unit_amount_decimal"] = unit
    customer = ctx.require("customer", item["customer"])
    fresh = build_item(ctx, customer, {"currency": item["currency"], **given})
    for name in ("amount", "net_amount", "quantity", "quantity_decimal"):
        item[name] = fresh[name]
    item["pricing"] = fresh["pricing"] or item["pricing"]


@operation("DELETE", "/v1/invoiceitems/{invoiceitem}", params="InvoiceItemDeleteParams")
def delete_invoice_item(ctx: Context) -> JsonObject:
    item = ctx.require(KIND, ctx.path["invoiceitem"])
    if item["invoice"]:
        invoice = _draft(ctx, item["invoice"])
        before = snapshot(invoice)
        keep_lines(
            ctx,
            invoice,
            [line for line in invoice_lines(ctx, invoice["id"]) if invoice_item_of(line) != item["id"]],
        )
        change_invoice(ctx, invoice, before)
    ctx.emit("invoiceitem.deleted", item)
    return ctx.store.bury(KIND, item["id"])
