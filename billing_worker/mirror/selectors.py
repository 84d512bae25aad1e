"""Reading the mirror."""

from __future__ import annotations

from datetime import datetime

from django.db.models import QuerySet

from billing_worker.core.errors import NotFound
from billing_worker.mirror.models import RawCopy, StripeCreditNote, StripeInvoice, StripeSubscription


class NotMirrored(NotFound):
    """No event about this object was processed yet. Look at the inbox, or run `backfill_events`."""

    code = "not_mirrored"


def get_invoice(stripe_invoice_id: str) -> StripeInvoice:
    """The invoice with its payer loaded.

    Raises:
        NotMirrored: no event about it was processed.
    """
    invoice = (
        StripeInvoice.objects.select_related("account").filter(stripe_invoice_id=stripe_invoice_id).first()
    )
    if invoice is None:
        raise NotMirrored(f"invoice {stripe_invoice_id} is not in the mirror: run backfill_events")
    return invoice


def list_invoices_of(account_id: int) -> QuerySet[StripeInvoice]:
    """The invoices that an account pays, newest first."""
    return StripeInvoice.objects.filter(account=account_id)


def list_subscriptions_of(account_id: int) -> QuerySet[StripeSubscription]:
    """The subscriptions that an account pays, newest first."""
    return StripeSubscription.objects.filter(account=account_id)


def list_credit_notes_of(stripe_invoice_id: str) -> QuerySet[StripeCreditNote]:
    """The credit notes of an invoice, void ones included, newest first."""
    return StripeCreditNote.objects.filter(stripe_invoice_id=stripe_invoice_id)


def list_due_copies(*, now: datetime, limit: int) -> list[RawCopy]:
    """dj-stripe copies that are behind and may be tried again, longest waiting first."""
    return list(RawCopy.objects.filter(next_attempt_at__lte=now).order_by("next_attempt_at")[:limit])
