"""What Stripe's events mean for documents. Rows only: the worker's tasks do the work."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from billing_worker.alerts.services import raise_alert
from billing_worker.alerts.states import AlertName, Severity
from billing_worker.core.money import format_minor
from billing_worker.mirror.models import StripeCreditNote, StripeInvoice
from billing_worker.webhooks.reading import read_invoice
from billing_worker.webhooks.registry import StripeEvent, receives
from invoices.models import InvoiceEvent
from invoices.services.credit_notes import ensure_credit_note, find_invoice_of, revise_credit_note
from invoices.services.documents import ensure_document_of, stamp_void
from invoices.services.payments import want_payments
from invoices.services.receipts import wants_receipts
from invoices.services.timeline import record_event


@receives("invoice.finalized")
def on_invoice_finalized(event: StripeEvent) -> None:
    """A finalized invoice of ours gets its document, however often and in whatever order we hear of it."""
    invoice = _read_invoice(event)
    if invoice is None:
        return
    _record(event, invoice.pk, {})
    ensure_document_of(invoice=invoice, reason="invoice.finalized", now=event.now)


@receives("invoice.paid", "invoice.voided", "invoice.marked_uncollectible", "invoice.payment_failed")
def on_invoice_changed(event: StripeEvent) -> None:
    """A change after finalization goes on the timeline. It also proves that the invoice was finalized."""
    invoice = _read_invoice(event)
    if invoice is None:
        return
    detail = _describe_payment(event.object) if event.type == "invoice.payment_failed" else {}
    entry = _record(event, invoice.pk, detail)
    if event.type == "invoice.voided":
        stamp_void(invoice_id=invoice.pk, reason=event.type, now=event.now)
    else:
        ensure_document_of(invoice=invoice, reason=event.type, now=event.now)
    if entry is not None and event.type in ("invoice.payment_failed", "invoice.paid"):
        want_payments(
            invoice=invoice,
            now=event.now,
            is_first=event.type == "invoice.payment_failed",
            for_receipts=event.type == "invoice.paid" and wants_receipts(invoice),
        )
    if entry is not None and event.type == "invoice.payment_failed":
        _alert_payment(event, invoice, detail)


@receives("credit_note.created", "credit_note.updated", "credit_note.voided")
def on_credit_note(event: StripeEvent) -> None:
    """A credit note of an invoice of ours gets its document, and a new one if what is printed has changed."""
    credit_note_id = event.object["id"]
    invoice = find_invoice_of(credit_note_id)
    if invoice is None or invoice.account_id is None:
        return
    note = StripeCreditNote.objects.get(stripe_credit_note_id=credit_note_id)
    _record(
        event, invoice.pk, {"number": note.number, "total": format_minor(note.total_minor, note.currency)}
    )
    make = ensure_credit_note if event.type == "credit_note.created" else revise_credit_note
    make(stripe_credit_note_id=credit_note_id, reason=event.type, now=event.now)


def _alert_payment(event: StripeEvent, invoice: StripeInvoice, detail: dict[str, Any]) -> None:
    following = detail["next_payment_attempt_at"] or "none"
    raise_alert(
        name=AlertName.PAYMENT_FAILED,
        severity=Severity.WARNING,
        subject=invoice.number or invoice.stripe_invoice_id,
        detail=f"Attempt {detail['attempt_count']} failed; Stripe sends the reminder. Next attempt: {following}",
        now=event.now,
        context={"invoice": invoice.stripe_invoice_id},
    )


def _read_invoice(event: StripeEvent) -> StripeInvoice | None:
    """The mirrored invoice, if it belongs to an account of ours."""
    invoice = read_invoice(event)
    return invoice if invoice is not None and invoice.account_id is not None else None


def _record(event: StripeEvent, invoice_id: int, detail: dict[str, Any]) -> InvoiceEvent | None:
    return record_event(
        invoice_id=invoice_id,
        name=event.type.removeprefix("invoice.").replace(".", "_"),
        at=event.created_at,
        source=event.id,
        detail=detail,
        now=event.now,
    )


def _describe_payment(payload: Mapping[str, Any]) -> dict[str, Any]:
    following = payload.get("next_payment_attempt")
    return {
        "attempt_count": payload.get("attempt_count"),
        "next_payment_attempt_at": f"{datetime.fromtimestamp(following, UTC):%Y-%m-%d %H:%M}"
        if following
        else None,
    }
