"""Documents of credit notes: one mail each, and a new revision where Stripe changes or voids one."""

from __future__ import annotations

from datetime import datetime

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from billing_worker.mirror.models import StripeCreditNote, StripeInvoice
from invoices.building import InvoiceIncomplete
from invoices.credit_notes import build_credit_note
from invoices.models import InvoiceDocument
from invoices.selectors import is_ours, select_ours
from invoices.services.documents import NothingWouldChange, create_revision
from invoices.states import DocumentKind

log = structlog.get_logger(__name__)


def ensure_credit_note(*, stripe_credit_note_id: str, reason: str, now: datetime) -> InvoiceDocument | None:
    """Make the first document of a credit note, if its invoice is ours and it has none. Safe to repeat.

    None where there is nothing to make, or not yet: the sweeper comes back for what is not complete here.
    """
    existing = InvoiceDocument.objects.filter(
        kind=DocumentKind.CREDIT_NOTE, subject=stripe_credit_note_id
    ).first()
    return existing or _make(stripe_credit_note_id, reason=reason, now=now)


def revise_credit_note(*, stripe_credit_note_id: str, reason: str, now: datetime) -> InvoiceDocument | None:
    """Make a new revision of a credit note that was voided or whose memo was changed. Safe to repeat.

    It supersedes what was printed before and is not mailed by itself, unless nothing was mailed yet. None where nothing
    that is printed has changed.
    """
    return _make(stripe_credit_note_id, reason=reason, now=now)


def _make(stripe_credit_note_id: str, *, reason: str, now: datetime) -> InvoiceDocument | None:
    invoice = find_invoice_of(stripe_credit_note_id)
    if invoice is None or not is_ours(invoice):
        return None
    try:
        with transaction.atomic():
            # One at a time: else an older state could be printed as the later revision.
            StripeInvoice.objects.select_for_update().get(pk=invoice.pk)
            content = build_credit_note(invoice, stripe_credit_note_id)
            return create_revision(invoice, content, reason=reason, requested_by="", now=now)
    except NothingWouldChange:
        return None
    except InvoiceIncomplete as error:
        log.info("credit_note_waits", credit_note=stripe_credit_note_id, why=str(error))
        return None


def find_invoice_of(stripe_credit_note_id: str) -> StripeInvoice | None:
    """The mirrored invoice that a credit note belongs to; None while either is not here."""
    notes = StripeCreditNote.objects.filter(stripe_credit_note_id=stripe_credit_note_id)
    return (
        StripeInvoice.objects.select_related("account")
        .filter(stripe_invoice_id__in=notes.values("stripe_invoice_id"))
        .first()
    )


def select_undocumented_notes() -> QuerySet[StripeCreditNote]:
    """Complete credit notes of invoices of ours that have no document, oldest first."""
    documents = InvoiceDocument.objects.filter(
        kind=DocumentKind.CREDIT_NOTE,
        subject=OuterRef("stripe_credit_note_id"),
        invoice__stripe_invoice_id=OuterRef("stripe_invoice_id"),
    )
    ours = select_ours().filter(stripe_invoice_id=OuterRef("stripe_invoice_id"))
    return StripeCreditNote.objects.filter(~Exists(documents), Exists(ours), lines_complete=True).order_by(
        "pk"
    )
