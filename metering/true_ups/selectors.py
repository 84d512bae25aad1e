"""Reads about true-ups."""

from __future__ import annotations

from django.db.models import QuerySet

from billing_worker.core.periods import Period
from billing_worker.mirror.models import StripeInvoice, StripeInvoiceLine
from metering.true_ups.models import TrueUp


def list_true_ups_of(account_id: int, period: Period) -> QuerySet[TrueUp]:
    """The true-ups of an account's month, oldest first, with their payer."""
    return (
        TrueUp.objects.filter(account=account_id, period=str(period)).select_related("payer").order_by("pk")
    )


def find_invoices(true_ups: list[TrueUp]) -> dict[int, StripeInvoice]:
    """On which mirrored invoice each true-up's item stands, or which one its credit note reduces, by true-up."""
    items = {
        true_up.stripe_object_id: true_up.pk
        for true_up in true_ups
        if true_up.stripe_object_id and not true_up.is_credit
    }
    lines = StripeInvoiceLine.objects.filter(invoice_item__in=items).select_related("invoice")
    found = {items[line.invoice_item]: line.invoice for line in lines}
    credited = {
        true_up.credited_invoice_id: true_up.pk
        for true_up in true_ups
        if true_up.stripe_object_id and true_up.is_credit
    }
    for invoice in StripeInvoice.objects.filter(stripe_invoice_id__in=credited):
        for true_up in true_ups:
            if true_up.credited_invoice_id == invoice.stripe_invoice_id and true_up.stripe_object_id:
                found[true_up.pk] = invoice
    return found
