"""What a document can be about, and how its content is built anew: an invoice, or a payment of it."""

from __future__ import annotations

from billing_worker.mirror.models import StripeInvoice
from invoices.building import build_content
from invoices.content import InvoiceContent
from invoices.receipts import build_receipt


def build_subject(invoice: StripeInvoice, subject: str) -> InvoiceContent:
    """The content of the invoice itself (empty `subject`), or of what Stripe's id names, as the mirror has it now.

    Raises:
        InvoiceIncomplete: something of it is not here yet.
    """
    return build_receipt(invoice, subject) if subject else build_content(invoice)
