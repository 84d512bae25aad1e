"""What credit notes take off an invoice, for the console."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from billing_worker.core.money import format_minor
from billing_worker.mirror.models import StripeCreditNote, StripeInvoice
from billing_worker.mirror.selectors import list_credit_notes_of
from invoices.models import InvoiceDocument
from invoices.states import DocumentKind


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditEntry:
    """One credit note: how much, how it is given, and its newest document (None: not printed)."""

    number: str
    total: str
    giving: str
    reason: str
    is_void: bool
    document_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credits:
    """The credit notes of an invoice, oldest first, and what is left of its total without the void ones."""

    entries: Sequence[CreditEntry]
    taken_off: str
    left: str


def tell_credits(invoice: StripeInvoice) -> Credits | None:
    """None if the invoice has no credit note."""
    notes = list(list_credit_notes_of(invoice.stripe_invoice_id).order_by("created_at", "pk"))
    if not notes:
        return None
    documents = InvoiceDocument.objects.filter(invoice=invoice, kind=DocumentKind.CREDIT_NOTE)
    newest = dict(documents.order_by("revision").values_list("subject", "pk"))
    taken_off = sum(note.total_minor for note in notes if note.status != "void")
    return Credits(
        entries=[_tell(note, newest.get(note.stripe_credit_note_id)) for note in notes],
        taken_off=format_minor(taken_off, invoice.currency),
        left=format_minor(invoice.total_minor - taken_off, invoice.currency),
    )


def _tell(note: StripeCreditNote, document_id: int | None) -> CreditEntry:
    ways = (
        ("deducted from what is due", note.pre_payment_minor),
        ("refunded", note.refunded_minor),
        ("out of band", note.out_of_band_minor),
        (
            "to the customer's balance",
            note.post_payment_minor - note.refunded_minor - note.out_of_band_minor,
        ),
    )
    return CreditEntry(
        number=note.number or note.stripe_credit_note_id,
        total=format_minor(-note.total_minor, note.currency),
        giving=", ".join(f"{format_minor(amount, note.currency)} {way}" for way, amount in ways if amount),
        reason=" · ".join(part for part in (note.reason.replace("_", " "), note.memo) if part),
        is_void=note.status == "void",
        document_id=document_id,
    )
