"""Invoices in the store: made as drafts, given lines, summed up and changed with their events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sandbox.billing import due
from sandbox.billing.diff import previous_attributes, shown, snapshot
from sandbox.billing.lines import invoice_item_of
from sandbox.billing.settlement import Settlement, settle
from sandbox.billing.totals import Discount, TaxRate, apply_discounts, apply_taxes, sum_up
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject
from sandbox.engine.routing import on_load
from sandbox.engine.store import Store

DRAFT_SECONDS = 3_600
FIRST_PAGE = 10
DAY = 86_400


@on_load
def _declare(store: Store) -> None:
    store.index("line_item", "invoice")
    store.index("invoice", "customer")
    store.index("invoice", "_subscription")
    store.index("invoice_payment", "invoice")
    store.index("tax_id", "customer")


@dataclass(frozen=True, slots=True)
class Terms:
    """How an invoice is collected and what is printed on it; the subscription's or the caller's choice."""

    billing_reason: str
    collection_method: str = "charge_automatically"
    days_until_due: int | None = None
    auto_advance: bool = True
    period: tuple[int, int] = (0, 0)
    extra: dict[str, Any] = field(default_factory=dict)


def new_invoice(
    ctx: Context,
    customer: JsonObject,
    currency: str,
    terms: Terms,
    at: int,
    subscription: JsonObject | None = None,
) -> JsonObject:
    """A draft without lines, not yet stored. An automatic one is finalized an hour after `at` (epoch seconds)."""
    invoice_id = ctx.store.new_id("in")
    parent = None
    if subscription is not None:
        details = {"metadata": dict(subscription["metadata"]), "subscription": subscription["id"]}
        parent = {"type": "subscription_details", "subscription_details": details, "quote_details": None}
    due_date = None
    if terms.collection_method == "send_invoice" and terms.days_until_due is not None:
        due_date = at + terms.days_until_due * DAY
    invoice = _blank(invoice_id, customer, currency, at)
    invoice.update(
        {
            "_days_until_due": terms.days_until_due,
            "_subscription": subscription["id"] if subscription else None,
            "auto_advance": terms.auto_advance,
            "automatically_finalizes_at": at + DRAFT_SECONDS if terms.auto_advance else None,
            "billing_reason": terms.billing_reason,
            "collection_method": terms.collection_method,
            "due_date": due_date,
            "parent": parent,
            "period_end": terms.period[1],
            "period_start": terms.period[0],
            **terms.extra,
        }
    )
    copy_customer_fields(ctx, invoice, customer)
    return invoice


def _blank(invoice_id: str, customer: JsonObject, currency: str, at: int) -> JsonObject:
    zeros = (
        "amount_due amount_overpaid amount_paid amount_remaining amount_shipping attempt_count "
        "post_payment_credit_notes_amount pre_payment_credit_notes_amount starting_balance subtotal total"
    )
    return {
        "id": invoice_id,
        "object": "invoice",
        **dict.fromkeys(zeros.split(), 0),
        "_default_tax_rates": [],
        "account_country": "US",
        "account_name": "Sandbox",
        "attempted": False,
        "automatic_tax": {
            "enabled": False, "disabled_reason": None, "liability": None, "provider": None, "status": None
        },
        "created": at,
        "currency": currency,
        "custom_fields": None,
        "customer": customer["id"],
        "default_payment_method": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "effective_at": None,
        "ending_balance": None,
        "footer": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "lines": {"object": "list", "data": [], "has_more": False, "url": f"/v1/invoices/{invoice_id}/lines"},
        "livemode": False,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "status": "draft",
        "status_transitions": {
            "finalized_at": None, "marked_uncollectible_at": None, "paid_at": None, "voided_at": None
        },
        "test_clock": customer.get("test_clock"),
        "total_pretax_credit_amounts": [],
        "webhooks_delivered_at": at,
    }  # fmt: skip


def copy_customer_fields(ctx: Context, invoice: JsonObject, customer: JsonObject) -> None:
    """Take over what an invoice prints of its customer; done again at finalization, fixed from then on."""
    for name in ("address", "email", "name", "phone", "shipping"):
        invoice[f"customer_{name}"] = snapshot(customer.get(name))
    invoice["customer_tax_exempt"] = customer.get("tax_exempt") or "none"
    tax_ids = ctx.store.find("tax_id", "customer", customer["id"])
    invoice["customer_tax_ids"] = [{"type": found["type"], "value": found["value"]} for found in tax_ids]
    settings = customer.get("invoice_settings") or {}
    for name in ("custom_fields", "footer"):
        if invoice.get(name) is None:
            invoice[name] = snapshot(settings.get(name))


def invoice_lines(ctx: Context, invoice_id: str) -> list[JsonObject]:
    """All lines of a stored invoice, in the order they are shown in."""
    return sorted(ctx.store.find("line_item", "invoice", invoice_id), key=_position)


def _position(line: JsonObject) -> int:
    position: int = line["_position"]
    return position


def keep_lines(ctx: Context, invoice: JsonObject, lines: Sequence[JsonObject]) -> None:
    """Make these the invoice's lines: store them (those no longer among them are deleted) and sum the invoice up anew.

    The invoice itself is left for the caller to put.
    """
    kept: set[str] = set()
    for position, line in enumerate(lines):
        line["id"] = line["id"] or ctx.store.new_id("il")
        line["invoice"] = invoice["id"]
        line["_position"] = position
        kept.add(line["id"])
    for old in ctx.store.find("line_item", "invoice", invoice["id"]):
        if old["id"] not in kept:
            ctx.store.delete("line_item", old["id"])
    total_up(ctx, invoice, lines)
    for line in lines:
        ctx.store.put("line_item", line)


def total_up(ctx: Context, invoice: JsonObject, lines: Sequence[JsonObject]) -> None:
    """Work out discounts, taxes and sums from the lines, and show the first page of them on the invoice."""
    discount_totals = apply_discounts(lines, [discount_at_work(ctx, id) for id in invoice["discounts"]])
    default_rates = invoice["_default_tax_rates"]
    rates_of = [
        [tax_rate_at_work(ctx, id) for id in line.get("_tax_rates") or default_rates] for line in lines
    ]
    invoice.update(sum_up(lines, discount_totals, apply_taxes(lines, rates_of)))
    invoice["lines"] = {
        "object": "list",
        "data": [shown(line) for line in lines[:FIRST_PAGE]],
        "has_more": len(lines) > FIRST_PAGE,
        "url": f"/v1/invoices/{invoice['id']}/lines",
    }
    apply_balance(ctx, invoice)


def apply_balance(ctx: Context, invoice: JsonObject) -> Settlement:
    """Set what is due from the total and the customer's balance as it is now. The balance itself stays."""
    settlement = settle(invoice["total"], balance_for(ctx, invoice), invoice["currency"])
    invoice["starting_balance"] = settlement.starting_balance_minor
    invoice["amount_due"] = invoice["amount_remaining"] = settlement.amount_due_minor
    return settlement


def balance_for(ctx: Context, invoice: JsonObject) -> int:
    """The customer's balance in minor units, as far as it is in the invoice's currency."""
    customer = ctx.store.get("customer", invoice["customer"])
    if customer is None or (customer.get("currency") or invoice["currency"]) != invoice["currency"]:
        return 0
    balance: int = customer.get("balance") or 0
    return balance


def discount_at_work(ctx: Context, discount_id: str) -> Discount:
    """A stored discount as the sums need it."""
    coupon = coupon_of(ctx, discount_id)
    percent = coupon.get("percent_off")
    return Discount(discount_id, None if percent is None else Decimal(str(percent)), coupon.get("amount_off"))


def coupon_of(ctx: Context, discount_id: str) -> JsonObject:
    """The coupon behind a discount, deleted or not."""
    coupon_id = ctx.require("discount", discount_id)["source"]["coupon"]
    return ctx.store.get("coupon", coupon_id) or ctx.require("_deleted_coupon_terms", coupon_id)


def tax_rate_at_work(ctx: Context, tax_rate_id: str) -> TaxRate:
    """A stored tax rate as the sums need it."""
    rate = ctx.require("tax_rate", tax_rate_id)
    return TaxRate(rate["id"], Decimal(str(rate["percentage"])), rate["inclusive"])


def show_tax_rates(ctx: Context, invoice: JsonObject, tax_rate_ids: Sequence[str]) -> None:
    """Set the default tax rates of an invoice; Stripe embeds them whole."""
    invoice["_default_tax_rates"] = list(tax_rate_ids)
    invoice["default_tax_rates"] = [ctx.require("tax_rate", id, "default_tax_rates") for id in tax_rate_ids]


def invoice_due(invoice: JsonObject) -> int | None:
    """When an invoice next needs something done: its finalization, a payment attempt, or its due date passing."""
    if invoice["status"] == "draft":
        at: int | None = invoice["automatically_finalizes_at"] if invoice["auto_advance"] else None
        return at
    if invoice["status"] != "open":
        return None
    if invoice["collection_method"] == "send_invoice" and not invoice.get("_overdue"):
        due_date: int | None = invoice["due_date"]
        return due_date
    attempt: int | None = invoice["next_payment_attempt"]
    return attempt


def save_invoice(ctx: Context, invoice: JsonObject) -> None:
    """Store an invoice and the moment it is due next."""
    ctx.store.put("invoice", invoice)
    due.wait(ctx, invoice, invoice_due(invoice))


def change_invoice(
    ctx: Context, invoice: JsonObject, before: JsonObject, event: str = "invoice.updated"
) -> None:
    """Store a changed invoice and tell about it; `before` is a snapshot from before the change."""
    save_invoice(ctx, invoice)
    previous = previous_attributes(before, invoice)
    if previous or event != "invoice.updated":
        ctx.emit(event, invoice, previous if event == "invoice.updated" else None)


def release_items(ctx: Context, lines: Sequence[JsonObject]) -> None:
    """Give the invoice items of a deleted draft back, so that the next invoice pulls them in."""
    for line in lines:
        item_id = invoice_item_of(line)
        item = ctx.store.get("invoiceitem", item_id) if item_id else None
        if item is not None:
            ctx.store.put("invoiceitem", {**item, "invoice": None})
