"""Drafts that Stripe makes and finalizes. Rows only; the mirror is up to date when these run."""

from __future__ import annotations

from billing_worker.mirror.models import StripeInvoice
from billing_worker.webhooks.registry import StripeEvent, receives
from metering.draft_window.config import get_hold_policy
from metering.draft_window.services import plan_hold, record_finalized


@receives("invoice.created")
def on_invoice_created(event: StripeEvent) -> None:
    """Plan a hold for a draft that bills usage, unless that is complete already."""
    invoice = _find(event)
    if invoice is not None:
        plan_hold(invoice=invoice, policy=get_hold_policy(), now=event.now)


@receives("invoice.finalized")
def on_invoice_finalized(event: StripeEvent) -> None:
    """Note the time on the hold, whoever finalized it."""
    record_finalized(stripe_invoice_id=str(event.object.get("id") or ""))


def _find(event: StripeEvent) -> StripeInvoice | None:
    return StripeInvoice.objects.filter(stripe_invoice_id=str(event.object.get("id") or "")).first()
