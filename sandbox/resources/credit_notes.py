"""Credit notes: issued, previewed, listed and voided."""

from __future__ import annotations

from typing import Any

from sandbox.billing.balance import post_to_balance
from sandbox.billing.collection import settle_if_nothing_due
from sandbox.billing.crediting import Split, credit_note_lines, credit_sums, new_credit_note, split_credit
from sandbox.billing.diff import previous_attributes, snapshot
from sandbox.billing.invoicing import change_invoice
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.routing import on_load, operation
from sandbox.engine.shapes import list_page
from sandbox.engine.store import Store
from sandbox.resources.fields import filter_created, filter_equal, merge_metadata
from sandbox.resources.payments import refund_payment

KIND = "credit_note"
LINE = "credit_note_line_item"


@on_load
def _declare(store: Store) -> None:
    store.index(KIND, "invoice")
    store.index(KIND, "customer")
    store.index(LINE, "_credit_note")


@operation("POST", "/v1/credit_notes", params="CreditNoteCreateParams")
def create_credit_note(ctx: Context) -> JsonObject:
    """Issue a credit note: it reduces what is due of an open invoice, or gives back what was paid."""
    params = ctx.params
    invoice = ctx.require("invoice", params["invoice"], "invoice")
    now = ctx.now_for(invoice["customer"])
    note, lines, split = _draft(ctx, invoice, params, now)
    _give_back(ctx, note, invoice, split, params, now)
    ctx.store.put(KIND, note)
    for line in lines:
        ctx.store.put(LINE, {**line, "_credit_note": note["id"]})
    ctx.emit("credit_note.created", note)
    _reduce_invoice(ctx, invoice, split, now)
    return note


def _draft(
    ctx: Context, invoice: JsonObject, params: dict[str, Any], now: int
) -> tuple[JsonObject, list[JsonObject], Split]:
    if params.get("shipping_cost"):
        raise invalid("shipping_cost", "The sandbox does not cover `shipping_cost`.")
    lines = credit_note_lines(ctx, invoice, params)
    total = credit_sums(lines)["total"]
    if params.get("lines") and params.get("amount", total) != total:
        raise invalid("amount", f"The amount must equal the sum of the lines ({total}).")
    split = split_credit(ctx, invoice, total, params)
    return new_credit_note(ctx, invoice, lines, split, params, now), lines, split


def _give_back(
    ctx: Context, note: JsonObject, invoice: JsonObject, split: Split, params: dict[str, Any], now: int
) -> None:
    """Refund and credit what was paid already, and name it on the note."""
    for entry in params.get("refunds", []):
        refund = ctx.require("refund", entry.get("refund", ""), "refunds[refund]")
        note["refunds"].append(_refund_entry(refund["id"], entry.get("amount_refunded", refund["amount"])))
    asked = params.get("refund_amount", 0)
    if asked:
        paid = [
            p for p in ctx.store.find("invoice_payment", "invoice", invoice["id"]) if p["status"] == "paid"
        ]
        if not paid:
            raise invalid("refund_amount", "The invoice has no payment that could be refunded.")
        refund = refund_payment(ctx, paid[-1]["payment"]["payment_intent"], asked)
        note["refunds"].append(_refund_entry(refund["id"], asked))
    if split.credit:
        transaction = post_to_balance(
            ctx,
            invoice["customer"],
            -split.credit,
            invoice["currency"],
            type="credit_note",
            at=now,
            invoice=invoice["id"],
            credit_note=note["id"],
        )
        note["customer_balance_transaction"] = transaction["id"]


def _refund_entry(refund_id: str, amount: int) -> JsonObject:
    return {"amount_refunded": amount, "payment_record_refund": None, "refund": refund_id, "type": "refund"}


def _reduce_invoice(ctx: Context, invoice: JsonObject, split: Split, now: int) -> None:
    before = snapshot(invoice)
    invoice["pre_payment_credit_notes_amount"] += split.pre_payment
    invoice["post_payment_credit_notes_amount"] += split.post_payment
    invoice["amount_due"] -= split.pre_payment
    invoice["amount_remaining"] -= split.pre_payment
    change_invoice(ctx, invoice, before)
    if split.pre_payment and invoice["status"] == "open":
        settle_if_nothing_due(ctx, invoice, now)


@operation("GET", "/v1/credit_notes/preview", params="CreditNotePreviewParams")
def preview_credit_note(ctx: Context) -> JsonObject:
    """What a credit note would look like; nothing is stored or given back."""
    invoice = ctx.require("invoice", ctx.params["invoice"], "invoice")
    return _draft(ctx, invoice, ctx.params, ctx.now_for(invoice["customer"]))[0]


@operation("GET", "/v1/credit_notes/preview/lines", params="CreditNotePreviewLinesParams")
def preview_credit_note_lines(ctx: Context) -> JsonObject:
    invoice = ctx.require("invoice", ctx.params["invoice"], "invoice")
    lines = _draft(ctx, invoice, ctx.params, ctx.now_for(invoice["customer"]))[1]
    return list_page(ctx, lines[::-1], "/v1/credit_notes/preview/lines")


@operation("GET", "/v1/credit_notes/{id}", params="CreditNoteRetrieveParams")
def retrieve_credit_note(ctx: Context) -> JsonObject:
    return ctx.require(KIND, ctx.path["id"])


@operation("GET", "/v1/credit_notes", params="CreditNoteListParams")
def list_credit_notes(ctx: Context) -> JsonObject:
    params = ctx.params
    if "invoice" in params:
        found = ctx.store.find(KIND, "invoice", params["invoice"])
    elif "customer" in params:
        found = ctx.store.find(KIND, "customer", params["customer"])
    else:
        found = ctx.store.all(KIND)
    found = filter_created(filter_equal(found, params, "customer", "invoice"), params.get("created"))
    return list_page(ctx, found, "/v1/credit_notes")


@operation("GET", "/v1/credit_notes/{credit_note}/lines", params="CreditNoteListLinesParams")
def list_credit_note_lines(ctx: Context) -> JsonObject:
    note = ctx.require(KIND, ctx.path["credit_note"])
    lines = ctx.store.find(LINE, "_credit_note", note["id"])
    return list_page(ctx, lines[::-1], f"/v1/credit_notes/{note['id']}/lines")


@operation("POST", "/v1/credit_notes/{id}", params="CreditNoteModifyParams")
def update_credit_note(ctx: Context) -> JsonObject:
    note = ctx.require(KIND, ctx.path["id"])
    after = dict(note)
    if "memo" in ctx.params:
        after["memo"] = ctx.params["memo"]
    if "metadata" in ctx.params:
        after["metadata"] = merge_metadata(note["metadata"], ctx.params["metadata"])
    return _change(ctx, note, after, "credit_note.updated")


@operation("POST", "/v1/credit_notes/{id}/void", params="CreditNoteVoidCreditNoteParams")
def void_credit_note(ctx: Context) -> JsonObject:
    """Void the credit note of an invoice that is still open; the amount is due again."""
    note = ctx.require(KIND, ctx.path["id"])
    invoice = ctx.require("invoice", note["invoice"])
    if note["status"] == "void":
        raise StripeError(400, "This credit note is already void.")
    if invoice["status"] != "open" or note["post_payment_amount"]:
        raise StripeError(400, "You can only void the credit notes of open invoices.")
    now = ctx.now_for(note["customer"])
    voided = _change(ctx, note, {**note, "status": "void", "voided_at": now}, "credit_note.voided")
    before = snapshot(invoice)
    invoice["pre_payment_credit_notes_amount"] -= note["pre_payment_amount"]
    invoice["amount_due"] += note["pre_payment_amount"]
    invoice["amount_remaining"] += note["pre_payment_amount"]
    change_invoice(ctx, invoice, before)
    return voided


def _change(ctx: Context, before: JsonObject, after: JsonObject, event_type: str) -> JsonObject:
    previous = previous_attributes(before, after)
    if previous:
        ctx.store.put(KIND, after)
        ctx.emit(event_type, after, previous if event_type.endswith(".updated") else None)
    return after
