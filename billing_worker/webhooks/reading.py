"""What receivers read of the mirror about the object of their event."""

from __future__ import annotations

from typing import Final

from billing_worker.mirror.models import StripeInvoice
from billing_worker.webhooks.registry import StripeEvent

_INVOICE: Final = "invoice"


def read_invoice(event: StripeEvent) -> StripeInvoice | None:
    """The invoice that an event is about as the mirror has it, with its payer and lines; None if it is not there.

    Read once for all receivers of the event: they share the object, so none of them changes it.
    """
    if _INVOICE not in event.kept:
        invoices = StripeInvoice.objects.select_related("account").prefetch_related("lines").order_by()
        event.kept[_INVOICE] = invoices.filter(stripe_invoice_id=str(event.object.get("id") or "")).first()
    invoice: StripeInvoice | None = event.kept[_INVOICE]
    return invoice
