"""Receipts: one document and one mail for each payment of an invoice of ours."""

from __future__ import annotations

from datetime import datetime

import structlog
from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet

from billing_worker.mirror.models import StripeInvoice
from invoices.building import InvoiceIncomplete
from invoices.models import InvoiceDocument, InvoicePayment
from invoices.receipts import build_receipt
from invoices.selectors import is_ours, select_ours
from invoices.services.documents import NothingWouldChange, create_revision
from invoices.states import DocumentKind

log = structlog.get_logger(__name__)


def wants_receipts(invoice: StripeInvoice) -> bool:
    """Whether the payments of a paid invoice get receipts: the setting is on, and money was really taken."""
    return bool(settings.ENV.INVOICE_RECEIPTS) and invoice.amount_paid_minor > 0


def ensure_receipt(payment: InvoicePayment, *, reason: str, now: datetime) -> InvoiceDocument | None:
    """Make the receipt of a payment, if it has none. Safe to call any number of times, from any number of workers.

    None where there is nothing to make: no money, somebody else's invoice, or one that is not complete here yet.
    """
    invoice = StripeInvoice.objects.select_related("account").get(pk=payment.invoice_id)
    if payment.amount_minor <= 0 or not is_ours(invoice):
        return None
    existing = InvoiceDocument.objects.filter(
        invoice=invoice, kind=DocumentKind.RECEIPT, subject=payment.stripe_payment_id
    ).first()
    if existing is not None:
        return existing
    try:
        content = build_receipt(invoice, payment.stripe_payment_id)
        return create_revision(invoice, content, reason=reason, requested_by="", now=now)
    except (InvoiceIncomplete, NothingWouldChange) as error:
        log.info("receipt_waits", payment=payment.stripe_payment_id, why=str(error))
        return None


def select_unreceipted() -> QuerySet[InvoicePayment]:
    """Payments of invoices that were paid while receipts were on, and that have none."""
    receipts = InvoiceDocument.objects.filter(
        invoice=OuterRef("invoice"), kind=DocumentKind.RECEIPT, subject=OuterRef("stripe_payment_id")
    )
    return (
        InvoicePayment.objects.filter(
            ~Exists(receipts), invoice__payment_reading__wants_receipts=True, amount_minor__gt=0
        )
        .filter(invoice__in=select_ours())
        .order_by("pk")
    )
