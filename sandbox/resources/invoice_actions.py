"""What is done with an invoice: finalize, pay, send, void, write off; and previews of invoices to come."""

from __future__ import annotations

from sandbox.billing.collection import (
    attempt_payment,
    mark_paid,
    mark_uncollectible,
    settle_if_nothing_due,
    void_invoice,
    wait_for_collection,
)
from sandbox.billing.diff import snapshot
from sandbox.billing.finalization import finalize
from sandbox.billing.invoicing import save_invoice
from sandbox.billing.overlay import WhatIf
from sandbox.billing.preview import preview_invoice
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError
from sandbox.engine.routing import operation
from sandbox.resources.invoices import get_invoice
from sandbox.resources.preview_params import preview_request


@operation("POST", "/v1/invoices/{invoice}/finalize", params="InvoiceFinalizeInvoiceParams")
def finalize_invoice(ctx: Context) -> JsonObject:
    """Finalize a draft now. Nothing due: paid at once. Otherwise it is open, and charged in an hour if it advances."""
    invoice = get_invoice(ctx)
    now = ctx.now_for(invoice["customer"])
    if "auto_advance" in ctx.params and invoice["status"] == "draft":
        invoice["auto_advance"] = ctx.params["auto_advance"]
    finalize(ctx, invoice, now)
    if not settle_if_nothing_due(ctx, invoice, now):
        wait_for_collection(ctx, invoice, now)
    return invoice


@operation("POST", "/v1/invoices/{invoice}/pay", params="InvoicePayParams")
def pay_invoice(ctx: Context) -> JsonObject:
    """Pay an invoice now, finalizing a draft first; or note that it was paid elsewhere (`paid_out_of_band`).

    Raises:
        StripeError: 400, it is paid or void already, or there is nothing to charge; 402, the payment failed.
    """
    invoice, params = get_invoice(ctx), ctx.params
    now = ctx.now_for(invoice["customer"])
    if invoice["status"] == "paid":
        raise StripeError(400, "Invoice is already paid", code="invoice_already_paid")
    if invoice["status"] == "void":
        raise StripeError(400, "Voided invoices cannot be paid.", code="invoice_not_editable")
    if invoice["status"] == "draft":
        finalize(ctx, invoice, now)
    if settle_if_nothing_due(ctx, invoice, now):
        return invoice
    if params.get("paid_out_of_band"):
        before = snapshot(invoice)
        invoice["amount_paid_off_stripe"] = invoice["amount_remaining"]
        return mark_paid(ctx, invoice, now, amount=invoice["amount_remaining"], before=before)
    method = params.get("payment_method") or params.get("source")
    error = attempt_payment(ctx, invoice, now, automatic=False, payment_method=method)
    if error is not None:
        raise error
    return invoice


@operation("POST", "/v1/invoices/{invoice}/send", params="InvoiceSendInvoiceParams")
def send_invoice(ctx: Context) -> JsonObject:
    """Send an invoice, finalizing a draft first. No mail leaves the sandbox; `invoice.sent` tells of it."""
    invoice = get_invoice(ctx)
    if invoice["collection_method"] != "send_invoice":
        raise StripeError(
            400, "You can only manually send an invoice if its `collection_method` is `send_invoice`."
        )
    now = ctx.now_for(invoice["customer"])
    if invoice["status"] == "draft":
        finalize(ctx, invoice, now)
        settle_if_nothing_due(ctx, invoice, now)
    save_invoice(ctx, invoice)
    ctx.emit("invoice.sent", invoice)
    return invoice


@operation("POST", "/v1/invoices/{invoice}/void", params="InvoiceVoidInvoiceParams")
def void(ctx: Context) -> JsonObject:
    invoice = get_invoice(ctx)
    return void_invoice(ctx, invoice, ctx.now_for(invoice["customer"]))


@operation("POST", "/v1/invoices/{invoice}/mark_uncollectible", params="InvoiceMarkUncollectibleParams")
def mark_invoice_uncollectible(ctx: Context) -> JsonObject:
    invoice = get_invoice(ctx)
    return mark_uncollectible(ctx, invoice, ctx.now_for(invoice["customer"]))


@operation("POST", "/v1/invoices/create_preview", params="InvoiceCreatePreviewParams")
def create_preview(ctx: Context) -> JsonObject:
    """What the next invoice of a customer or subscription would be as things stand; nothing is stored."""
    what_if = WhatIf(ctx)
    return preview_invoice(what_if, preview_request(what_if))
