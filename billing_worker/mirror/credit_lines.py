"""Lines of credit notes: what each one takes back, and of whom. Under the customer's lock, like all of the mirror.

A credit note and its invoice may arrive in either order, so lines are resolved when either is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from billing_worker.accounts.models import Account
from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period
from billing_worker.gateway import CreditNote, CreditNoteLine, Invoice
from billing_worker.mirror.lines import describe_taxes, read_account_id, save_changes, write_lines
from billing_worker.mirror.models import (
    StripeCreditNote,
    StripeCreditNoteLine,
    StripeInvoice,
    StripeInvoiceLine,
)
from billing_worker.mirror.states import LineKind


def write_credit_lines(row: StripeCreditNote, note: CreditNote, *, is_new: bool) -> None:
    """Make the row's lines equal to the note's: change, add and remove, so that unchanged lines keep their keys."""
    existing = {} if is_new else {line.stripe_line_id: line for line in row.lines.all()}
    credited = _find_invoice_lines(row.stripe_invoice_id, {line.invoice_line for line in note.lines})
    named = _find_named_accounts(note)
    missing = []
    for position, line in enumerate(note.lines):
        values = {
            **_describe_line(line, position=position, currency=note.currency),
            **_resolve(row, note, line, credited.get(line.invoice_line or ""), named),
        }
        present = existing.pop(line.id, None)
        if present is None:
            missing.append(StripeCreditNoteLine(credit_note=row, stripe_line_id=line.id, **values))
        else:
            save_changes(present, values)
    if existing:
        row.lines.filter(stripe_line_id__in=list(existing)).delete()
    StripeCreditNoteLine.objects.bulk_create(missing, batch_size=200)


def write_invoice_parts(row: StripeInvoice, invoice: Invoice, *, is_new: bool) -> None:
    """The invoice's lines, and what they say about credit notes that came before them."""
    has_news = write_lines(row, invoice, is_new=is_new)
    if row.finalized_at is None or not has_news:
        return
    waiting = StripeCreditNoteLine.objects.filter(
        credit_note__stripe_invoice_id=row.stripe_invoice_id, period_start__isnull=True
    ).exclude(invoice_line="")
    lines = list(waiting)
    if not lines:
        return
    credited = _find_invoice_lines(row.stripe_invoice_id, {line.invoice_line for line in lines})
    for line in lines:
        source = credited.get(line.invoice_line)
        if source is not None:
            save_changes(line, {**_take_over(source), "taxes": _name_rates(line.taxes, source)})


def _find_invoice_lines(stripe_invoice_id: str, ids: set[str | None]) -> dict[str, StripeInvoiceLine]:
    wanted = {id for id in ids if id}
    if not wanted:
        return {}
    rows = StripeInvoiceLine.objects.filter(
        invoice__stripe_invoice_id=stripe_invoice_id, stripe_line_id__in=wanted
    )
    return {row.stripe_line_id: row for row in rows}


def _find_named_accounts(note: CreditNote) -> set[int]:
    """Which of the accounts that the metadata name exist."""
    told = [
        read_account_id(metadata) for metadata in (note.metadata, *(line.metadata for line in note.lines))
    ]
    named = {account_id for account_id in told if account_id is not None}
    return set(Account.objects.filter(pk__in=named).values_list("pk", flat=True)) if named else set()


def _resolve(
    row: StripeCreditNote,
    note: CreditNote,
    line: CreditNoteLine,
    source: StripeInvoiceLine | None,
    named: set[int],
) -> dict[str, Any]:
    has_inclusive = any(line.inclusive_tax_minor for line in note.lines)
    taxes = describe_taxes(line.taxes, has_inclusive=has_inclusive)
    if source is not None:
        return {**_take_over(source), "taxes": _name_rates(taxes, source)}
    told = {**row.metadata, **line.metadata}
    account_id = read_account_id(told)
    period_start, period_end = _read_period(told)
    return {
        "kind": told["kind"] if told.get("kind") in LineKind.values else LineKind.CUSTOM,
        "account_id": account_id if account_id in named else row.account_id,
        "period_start": period_start if not line.invoice_line else None,
        "period_end": period_end if not line.invoice_line else None,
        "taxes": taxes,
    }


def _take_over(source: StripeInvoiceLine) -> dict[str, Any]:
    return {
        "kind": source.kind,
        "account_id": source.account_id,
        "period_start": source.period_start,
        "period_end": source.period_end,
    }


def _read_period(told: Mapping[str, str]) -> tuple[datetime | None, datetime | None]:
    try:
        period = Period.parse(told.get("period", ""))
    except InvalidInput:
        return None, None
    return period.start_at, period.end_at


def _name_rates(taxes: list[dict[str, Any]], source: StripeInvoiceLine) -> list[dict[str, Any]]:
    """Stripe names the percentage on the invoice only: the same taxes, in the same order, are at the same rates."""
    if len(taxes) != len(source.taxes):
        return taxes
    return [
        {**tax, "percentage": tax["percentage"] or known["percentage"]}
        for tax, known in zip(taxes, source.taxes, strict=True)
    ]


def _describe_line(line: CreditNoteLine, *, position: int, currency: str) -> dict[str, Any]:
    return {
        "position": position,
        "invoice_line": line.invoice_line or "",
        "amount_minor": line.amount_minor,
        "currency": currency,
        "quantity": line.quantity,
        "unit_amount_decimal": line.unit_amount_decimal,
        "description": line.description,
        "discount_minor": line.discount_minor,
        "tax_minor": line.tax_minor,
        "inclusive_tax_minor": line.inclusive_tax_minor,
        "metadata": dict(line.metadata),
    }
