"""From draft to open: the number, the balance, and what cannot change any more."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable

from sandbox.billing.balance import post_to_balance
from sandbox.billing.diff import snapshot
from sandbox.billing.invoicing import (
    apply_balance,
    change_invoice,
    copy_customer_fields,
    invoice_lines,
    keep_lines,
    save_invoice,
)
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError

HOSTED_INVOICES = "https://invoice.stripe.com/i/acct_sandbox/test_"
PDF_INVOICES = "https://pay.stripe.com/invoice/acct_sandbox/test_"
PREFIX_ALPHABET = string.ascii_uppercase + string.digits

Refresh = Callable[[Context, JsonObject, list[JsonObject]], list[JsonObject]]
_refreshers: list[Refresh] = []


def before_finalization(refresh: Refresh) -> Refresh:
    """Register a function that brings a draft's lines up to date (usage that came in late) and returns them."""
    _refreshers.append(refresh)
    return refresh


def refresh_lines(ctx: Context, invoice: JsonObject) -> None:
    """Bring a draft's lines and sums up to date. The caller puts the invoice."""
    lines = invoice_lines(ctx, invoice["id"])
    for refresh in _refreshers:
        lines = refresh(ctx, invoice, lines)
    keep_lines(ctx, invoice, lines)


def finalize(ctx: Context, invoice: JsonObject, at: int) -> JsonObject:
    """Finalize a draft at `at`: number, balance, `invoice.finalized`. It is then open, even where nothing is due.

    Raises:
        StripeError: 400, it is not a draft.
    """
    if invoice["status"] != "draft":
        raise StripeError(
            400, "This invoice is already finalized, you can't re-finalize a non-draft invoice.",
            code="invoice_not_editable",
        )  # fmt: skip
    before = snapshot(invoice)
    refresh_lines(ctx, invoice)
    customer = ctx.store.get("customer", invoice["customer"])
    if customer is not None:
        copy_customer_fields(ctx, invoice, customer)
    _take_balance(ctx, invoice, at)
    invoice["number"] = invoice["number"] or _next_number(ctx, invoice["customer"])
    invoice["status"] = "open"
    invoice["status_transitions"] = {**invoice["status_transitions"], "finalized_at": at}
    invoice["effective_at"] = invoice["effective_at"] or at
    invoice["automatically_finalizes_at"] = None
    token = secrets.token_urlsafe(24)
    invoice["hosted_invoice_url"] = f"{HOSTED_INVOICES}{token}?s=ap"
    invoice["invoice_pdf"] = f"{PDF_INVOICES}{token}/pdf?s=ap"
    save_invoice(ctx, invoice)
    ctx.emit("invoice.finalized", invoice)
    change_invoice(ctx, invoice, before)
    return invoice


def _take_balance(ctx: Context, invoice: JsonObject, at: int) -> None:
    settlement = apply_balance(ctx, invoice)
    invoice["ending_balance"] = settlement.ending_balance_minor
    if settlement.balance_change_minor:
        post_to_balance(
            ctx,
            invoice["customer"],
            settlement.balance_change_minor,
            invoice["currency"],
            type="invoice_too_small" if settlement.too_small else "applied_to_invoice",
            at=at,
            invoice=invoice["id"],
        )


def _next_number(ctx: Context, customer_id: str) -> str:
    """Take the next number of the customer's gap-free sequence, `PREFIX-0001`."""
    customer = ctx.require("customer", customer_id)
    prefix = customer.get("invoice_prefix") or "".join(secrets.choice(PREFIX_ALPHABET) for _ in range(8))
    sequence = customer.get("next_invoice_sequence") or 1
    ctx.store.put("customer", {**customer, "invoice_prefix": prefix, "next_invoice_sequence": sequence + 1})
    return f"{prefix}-{sequence:04d}"
