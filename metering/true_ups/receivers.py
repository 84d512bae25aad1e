"""Finalized invoices tell what is billed. Rows only; the mirror is up to date when these run."""

from __future__ import annotations

from billing_worker.webhooks.reading import read_invoice
from billing_worker.webhooks.registry import StripeEvent, receives
from metering.true_ups.billed import record_billed_usage


@receives("invoice.finalized", "invoice.paid")
def on_invoice_billed(event: StripeEvent) -> None:
    """From here on usage of the invoice's period is not sent any more. Either event may come first, or alone."""
    invoice = read_invoice(event)
    if invoice is not None:
        record_billed_usage(invoice=invoice, now=event.now)
