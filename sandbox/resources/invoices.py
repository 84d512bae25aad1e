"""Invoices: drafts by hand, reading, changing and deleting. Finalization and payment are in `invoice_actions`."""

from __future__ import annotations

from typing import Any

from sandbox.billing.balance import claim_currency
from sandbox.billing.cycle import give_subscription_settings, terms_of
from sandbox.billing.diff import snapshot, undone_on_error
from sandbox.billing.discounts import apply_coupons
from sandbox.billing.invoicing import (
    DAY,
    DRAFT_SECONDS,
    Terms,
    change_invoice,
    invoice_lines,
    keep_lines,
    new_invoice,
    release_items,
    save_invoice,
    show_tax_rates,
    total_up,
)
from sandbox.billing.items_due import pending_items, take_items
from sandbox.billing.lines import invoice_item_line, invoice_item_of
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.expand import includable
from sandbox.engine.routing import operation
from sandbox.engine.shapes import list_page
from sandbox.resources.fields import filter_created, filter_equal, merge_metadata, unset
from sandbox.resources.invoice_items import build_item
from sandbox.resources.subscription_fields import check_collection, refuse

KIND = "invoice"
FREE_FIELDS = ("custom_fields", "default_payment_method", "default_source", "description", "effective_at", "footer",
               "number", "on_behalf_of",
               "shipping_details", "statement_descriptor")  # fmt: skip
FIXED_WHEN_FINAL = frozenset({"metadata", "auto_advance", "payment_settings", "rendering", "due_date", "days_until_due",
                              "default_payment_method", "default_source"})  # fmt: skip
NOT_COVERED = ("application_fee_amount", "from_invoice", "shipping_cost", "transfer_data")


@operation("POST", "/v1/invoices", params="InvoiceCreateParams")
def create_invoice(ctx: Context) -> JsonObject:
    """Draft an invoice; pending invoice items join it only with `pending_invoice_items_behavior=include`.

    For a `subscription` its own pending items do so by default.
    """
    params = ctx.params
    refuse(params, NOT_COVERED)
    subscription = (
        ctx.require("subscription", params["subscription"], "subscription")
        if params.get("subscription")
        else None
    )
    customer_id = params.get("customer") or (subscription or {}).get("customer")
    if not customer_id:
        raise invalid("customer", "Missing required param: customer.", "parameter_missing")
    customer = ctx.require("customer", customer_id, "customer")
    now = ctx.now_for(customer_id)
    fallback = subscription["currency"] if subscription else customer.get("currency")
    currency = (params.get("currency") or fallback or _pending_currency(ctx, customer_id) or "usd").lower()
    method = params.get("collection_method", "charge_automatically")
    if "due_date" not in params and not (subscription and "collection_method" not in params):
        check_collection(method, params)
    terms = (
        terms_of(subscription, (now, now), "manual") if subscription else Terms("manual", period=(now, now))
    )
    invoice = new_invoice(ctx, customer, currency, _terms(terms, params), now, subscription)
    if subscription is not None:
        give_subscription_settings(ctx, invoice, subscription)
    elif customer.get("discount"):
        invoice["discounts"] = [customer["discount"]["id"]]
    _apply(ctx, invoice, params, now)
    customer = claim_currency(ctx, customer, currency)
    behavior = params.get("pending_invoice_items_behavior", "include" if subscription else "exclude")
    lines: list[JsonObject] = []
    if behavior == "include":
        pending = pending_items(ctx, customer_id, currency, subscription["id"] if subscription else None)
        lines = take_items(ctx, pending, invoice["id"])
    keep_lines(ctx, invoice, lines)
    save_invoice(ctx, invoice)
    ctx.emit("invoice.created", invoice)
    return invoice


def _terms(base: Terms, params: dict[str, Any]) -> Terms:
    """The terms of an invoice made by hand: it only advances by itself when asked to."""
    return Terms(
        billing_reason="manual",
        collection_method=params.get("collection_method", base.collection_method),
        days_until_due=params.get("days_until_due", base.days_until_due),
        auto_advance=params.get("auto_advance", False),
        period=base.period,
    )


def _pending_currency(ctx: Context, customer_id: str) -> str | None:
    items = ctx.store.find("invoiceitem", "customer", customer_id)
    return next((item["currency"] for item in reversed(items) if item["invoice"] is None), None)


def _apply(ctx: Context, invoice: JsonObject, params: dict[str, Any], now: int) -> None:
    """Set what a request says on a draft; the lines are summed up by the caller."""
    if params.get("default_payment_method"):
        ctx.require("payment_method", params["default_payment_method"], "default_payment_method")
    for name in FREE_FIELDS:
        if name in params:
            invoice[name] = unset(params[name])
    for name in ("payment_settings", "rendering", "issuer"):
        if params.get(name):
            invoice[name] = {**(invoice.get(name) or {}), **{k: unset(v) for k, v in params[name].items()}}
    if "metadata" in params:
        invoice["metadata"] = merge_metadata(invoice["metadata"], params["metadata"])
    if "default_tax_rates" in params:
        show_tax_rates(ctx, invoice, unset(params["default_tax_rates"]) or [])
    if "discounts" in params:
        invoice["discounts"] = apply_coupons(
            ctx, params["discounts"], customer=invoice["customer"], at=now, invoice=invoice["id"]
        )
    _apply_collection(invoice, params, now)


def _apply_collection(invoice: JsonObject, params: dict[str, Any], now: int) -> None:
    """Set when an invoice advances, how it is collected and when it is due."""
    if "auto_advance" in params and params["auto_advance"] != invoice["auto_advance"]:
        invoice["auto_advance"] = params["auto_advance"]
        if invoice["status"] == "draft":
            invoice["automatically_finalizes_at"] = now + DRAFT_SECONDS if params["auto_advance"] else None
    for name in ("automatically_finalizes_at", "collection_method", "due_date"):
        if name in params:
            invoice[name] = params[name]
    if "days_until_due" in params:
        invoice["_days_until_due"] = params["days_until_due"]
        invoice["due_date"] = invoice["created"] + params["days_until_due"] * DAY
    if invoice["collection_method"] == "charge_automatically":
        invoice["due_date"] = None


@operation("GET", "/v1/invoices/{invoice}", params="InvoiceRetrieveParams")
def retrieve_invoice(ctx: Context) -> JsonObject:
    return get_invoice(ctx)


def get_invoice(ctx: Context) -> JsonObject:
    """The invoice that the path names.

    Raises:
        StripeError: 404, it doesn't exist or was a draft that was deleted.
    """
    return ctx.require(KIND, ctx.path["invoice"], "invoice")


@operation("GET", "/v1/invoices", params="InvoiceListParams")
def list_invoices(ctx: Context) -> JsonObject:
    params = ctx.params
    if "subscription" in params:
        found = ctx.store.find(KIND, "_subscription", params["subscription"])
    elif "customer" in params:
        found = ctx.store.find(KIND, "customer", params["customer"])
    else:
        found = ctx.store.all(KIND)
    found = filter_equal(found, params, "customer", "status", "collection_method")
    if "due_date" in params:
        found = filter_created(
            [i for i in found if i["due_date"] is not None], params["due_date"], "due_date"
        )
    return list_page(ctx, filter_created(found, params.get("created")), "/v1/invoices")


@operation("GET", "/v1/invoices/{invoice}/lines", params="InvoiceListLinesParams")
def list_invoice_lines(ctx: Context) -> JsonObject:
    """All lines, paged, in the order of the invoice (unlike other lists, first line first)."""
    invoice = get_invoice(ctx)
    lines = invoice_lines(ctx, invoice["id"])
    return list_page(ctx, lines[::-1], f"/v1/invoices/{invoice['id']}/lines")


@operation("POST", "/v1/invoices/{invoice}", params="InvoiceModifyParams")
def update_invoice(ctx: Context) -> JsonObject:
    """Change a draft; a finalized invoice only in what isn't printed on it.

    Raises:
        StripeError: 400 `invoice_not_editable`.
    """
    invoice, params = get_invoice(ctx), ctx.params
    refuse(params, NOT_COVERED)
    if invoice["status"] != "draft" and set(params) - FIXED_WHEN_FINAL:
        name = min(set(params) - FIXED_WHEN_FINAL)
        raise StripeError(
            400,
            f"Finalized invoices can't be updated in this way: `{name}`.",
            code="invoice_not_editable",
            param=name,
        )
    with undone_on_error(invoice) as before:
        _apply(ctx, invoice, params, ctx.now_for(invoice["customer"]))
        if invoice["status"] == "draft":
            lines = invoice_lines(ctx, invoice["id"])
            total_up(ctx, invoice, lines)
            for line in lines:
                ctx.store.put("line_item", line)
    change_invoice(ctx, invoice, before)
    return invoice


@operation("DELETE", "/v1/invoices/{invoice}", params="InvoiceDeleteParams")
def delete_invoice(ctx: Context) -> JsonObject:
    """Delete a draft made by hand; its invoice items are pending again."""
    invoice = require_draft(ctx)
    if invoice["billing_reason"] != "manual":
        raise StripeError(
            400, "You can't delete invoices created by subscriptions.", code="invoice_not_editable"
        )
    lines = invoice_lines(ctx, invoice["id"])
    release_items(ctx, lines)
    for line in lines:
        ctx.store.delete("line_item", line["id"])
    ctx.store.delete("_due", invoice["id"])
    ctx.emit("invoice.deleted", invoice)
    return ctx.store.bury(KIND, invoice["id"])


def require_draft(ctx: Context) -> JsonObject:
    """The draft that the path names.

    Raises:
        StripeError: 404, or 400 `invoice_not_editable`.
    """
    invoice = get_invoice(ctx)
    if invoice["status"] != "draft":
        raise StripeError(
            400, "This invoice is no longer editable.", code="invoice_not_editable", param="invoice"
        )
    return invoice


@operation("POST", "/v1/invoices/{invoice}/add_lines", params="InvoiceAddLinesParams")
def add_lines(ctx: Context) -> JsonObject:
    """Add lines to a draft: pending invoice items by id, or new ones."""
    invoice = require_draft(ctx)
    before = snapshot(invoice)
    customer = ctx.require("customer", invoice["customer"])
    lines = invoice_lines(ctx, invoice["id"])
    for position, given in enumerate(ctx.params["lines"]):
        if given.get("invoice_item"):
            item = ctx.require("invoiceitem", given["invoice_item"], f"lines[{position}][invoice_item]")
            if item["invoice"] is not None or item["customer"] != customer["id"]:
                raise invalid(
                    f"lines[{position}][invoice_item]", "The invoice item isn't pending for this customer."
                )
        else:
            item = build_item(ctx, customer, {"currency": invoice["currency"], **given})
        item["invoice"] = invoice["id"]
        ctx.store.put("invoiceitem", item)
        lines.append(invoice_item_line(item))
    return _with_lines(ctx, invoice, before, lines)


@operation("POST", "/v1/invoices/{invoice}/remove_lines", params="InvoiceRemoveLinesParams")
def remove_lines(ctx: Context) -> JsonObject:
    """Take lines off a draft; their invoice items are deleted, or pending again with `behavior=unassign`."""
    invoice = require_draft(ctx)
    before = snapshot(invoice)
    lines = {line["id"]: line for line in invoice_lines(ctx, invoice["id"])}
    for position, given in enumerate(ctx.params["lines"]):
        line = lines.pop(given["id"], None)
        if line is None:
            raise invalid(f"lines[{position}][id]", f"No such line item: '{given['id']}'", "resource_missing")
        item_id = invoice_item_of(line)
        if item_id is None:
            raise invalid(f"lines[{position}][id]", "Lines of a subscription cannot be removed.")
        if given["behavior"] == "delete":
            ctx.store.bury("invoiceitem", item_id)
        else:
            release_items(ctx, [line])
    return _with_lines(ctx, invoice, before, list(lines.values()))


def _with_lines(ctx: Context, invoice: JsonObject, before: JsonObject, lines: list[JsonObject]) -> JsonObject:
    if "invoice_metadata" in ctx.params:
        invoice["metadata"] = merge_metadata(invoice["metadata"], ctx.params["invoice_metadata"])
    keep_lines(ctx, invoice, lines)
    change_invoice(ctx, invoice, before)
    return invoice


@includable(KIND, "payments")
def invoice_payments(ctx: Context, invoice: JsonObject) -> JsonObject:
    """The payments made or attempted towards an invoice."""
    rows = ctx.store.find("invoice_payment", "invoice", invoice["id"])
    url = f"/v1/invoice_payments?invoice={invoice['id']}"
    return {"object": "list", "data": rows[::-1], "has_more": False, "url": url}


@includable(KIND, "confirmation_secret")
def confirmation_secret(ctx: Context, invoice: JsonObject) -> JsonObject | None:
    """The client secret of the invoice's payment intent, once there is one."""
    for row in ctx.store.find("invoice_payment", "invoice", invoice["id"]):
        intent = ctx.store.get("payment_intent", row["payment"].get("payment_intent") or "")
        if row["is_default"] and intent is not None:
            return {"client_secret": intent["client_secret"], "type": "payment_intent"}
    return None
