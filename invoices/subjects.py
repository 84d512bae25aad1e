"""What a document can be about, and how its content is built anew: an invoice, a payment or a credit note of it."""

from __future__ import annotations

from billing_worker.mirror.models import StripeCreditNote, StripeInvoice
from invoices.building import build_content
from invoices.content import InvoiceContent
from invoices.credit_notes import build_credit_note
from invoices.receipts import build_receipt


def build_subject(invoice: StripeInvoice, subject: str) -> InvoiceContent:
    """The content of the invoice itself (empty `subject`), or of what Stripe's id names, as the mirror has it now.

    Raises:
        InvoiceIncomplete: something of it is not here yet.
    """
    if not subject:
        return build_content(invoice)
    is_credit_note = StripeCreditNote.objects.filter(stripe_credit_note_id=subject).exists()
    return (build_credit_note if is_credit_note else build_receipt)(invoice, subject)
