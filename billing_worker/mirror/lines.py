"""Invoice lines: what each one bills, and keeping our rows equal to Stripe's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from billing_worker.accounts.models import Account
from billing_worker.catalog.selectors import get_kinds_for_products
from billing_worker.gateway import Invoice, InvoiceLine, LineTax
from billing_worker.mirror.models import StripeCreditNoteLine, StripeInvoice, StripeInvoiceLine
from billing_worker.mirror.states import LineKind

#: What fits an account's key, whatever its digits are.
_MAX_DIGITS = 18


def write_lines(row: StripeInvoice, invoice: Invoice, *, is_new: bool) -> bool:
    """Make the row's lines equal to the invoice's: change, add and remove, so that unchanged lines keep their keys.

    `is_new`: the row was made in this transaction, so it has none yet. True if there are lines that were not there
    before.
    """
    existing = {} if is_new else {line.stripe_line_id: line for line in row.lines.all()}
    kinds = _resolve_kinds(invoice, existing)
    accounts = _resolve_accounts(invoice, payer_id=row.account_id)
    has_inclusive = any(line.inclusive_tax_minor for line in invoice.lines)
    missing = []
    for position, line in enumerate(invoice.lines):
        values = {
            **_describe_line(line, position=position, kind=kinds[line.id], account_id=accounts[line.id]),
            "taxes": describe_taxes(line.taxes, has_inclusive=has_inclusive),
        }
        present = existing.pop(line.id, None)
        if present is None:
            missing.append(StripeInvoiceLine(invoice=row, stripe_line_id=line.id, **values))
        else:
            save_changes(present, values)
    if existing:
        row.lines.filter(stripe_line_id__in=list(existing)).delete()
    StripeInvoiceLine.objects.bulk_create(missing, batch_size=200)
    return bool(missing)


def save_changes(line: StripeInvoiceLine | StripeCreditNoteLine, values: Mapping[str, Any]) -> None:
    """Write what differs; a line that is as it was told costs no statement."""
    changed = [name for name, value in values.items() if getattr(line, name) != value]
    if changed:
        for name in changed:
            setattr(line, name, values[name])
        line.save(update_fields=changed)


def _resolve_kinds(invoice: Invoice, existing: Mapping[str, StripeInvoiceLine]) -> dict[str, str]:
    """The kind of each line by id: from the catalog's products first, from our own items' metadata second.

    In this order, because a subscription's metadata (which Stripe copies to its lines) says nothing about one line. A
    product keeps its kind, so what a line is already known to be is not looked up again.
    """
    by_product: dict[str | None, str | None] = {
        line.product: line.kind for line in existing.values() if line.product and line.kind != LineKind.CUSTOM
    }
    unknown = {line.product for line in invoice.lines if line.product} - set(by_product)
    if unknown:
        by_product.update(get_kinds_for_products(unknown))
    return {line.id: by_product.get(line.product) or _read_kind(line) for line in invoice.lines}


def _read_kind(line: InvoiceLine) -> str:
    named = line.metadata.get("kind") if line.invoice_item else None
    return named if named in LineKind.values else LineKind.CUSTOM


def _resolve_accounts(invoice: Invoice, *, payer_id: int | None) -> dict[str, int | None]:
    """Whose line each one is, by line id: the account our item's metadata names if it exists, else the payer's."""
    named = {
        line.id: account_id
        for line in invoice.lines
        if line.invoice_item and (account_id := read_account_id(line.metadata)) is not None
    }
    known = set(
        Account.objects.filter(pk__in=set(named.values())).values_list("pk", flat=True) if named else ()
    )
    return {line.id: named[line.id] if named.get(line.id) in known else payer_id for line in invoice.lines}


def read_account_id(told: Mapping[str, str]) -> int | None:
    """The account that metadata name, which anybody can write: None unless it may be one's key."""
    text = told.get("account_id", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS else None


def _describe_line(line: InvoiceLine, *, position: int, kind: str, account_id: int | None) -> dict[str, Any]:
    return {
        "position": position,
        "kind": kind,
        "account_id": account_id,
        "amount_minor": line.amount_minor,
        "currency": line.currency,
        "quantity": line.quantity,
        "unit_amount_decimal": line.unit_amount_decimal,
        "description": line.description,
        "period_start": line.period_start,
        "period_end": line.period_end,
        "price": line.price or "",
        "product": line.product or "",
        "subscription": line.subscription or "",
        "subscription_item": line.subscription_item or "",
        "invoice_item": line.invoice_item or "",
        "is_proration": line.is_proration,
        "discount_minor": line.discount_minor,
        "tax_minor": line.tax_minor,
        "inclusive_tax_minor": line.inclusive_tax_minor,
        "metadata": dict(line.metadata),
    }


def describe_taxes(taxes: Iterable[LineTax], *, has_inclusive: bool) -> list[dict[str, Any]]:
    """A line's taxes as its row keeps them.

    `has_inclusive`: some tax of the document is inside its prices. Then each says whether it is, and its rate's id.
    """
    return [
        {
            "amount_minor": tax.amount_minor,
            "taxable_minor": tax.taxable_minor,
            "percentage": None if tax.percentage is None else str(tax.percentage),
            "reason": tax.reason,
            **({"inclusive": tax.is_inclusive, "rate": tax.rate} if has_inclusive else {}),
        }
        for tax in taxes
    ]
