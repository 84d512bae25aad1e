"""After the month: a part of one invoice is taken back, and the customer hears of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from billing_worker.demo.story import Scene

#: Of the cohort that stays with both sides: what is credited later can't disturb a signature.
COHORT: Final = "cohort-3"
CREDITED_MINOR: Final = 1000


def credit_an_invoice(scene: Scene) -> str:
    """Take 10.00 off the flat fee of one open invoice, as finance would in Stripe's dashboard."""
    from billing_worker import gateway
    from billing_worker.core.money import format_minor
    from billing_worker.mirror.models import StripeInvoiceLine

    line = (
        StripeInvoiceLine.objects.filter(
            kind="sub",
            amount_minor__gt=CREDITED_MINOR,
            is_proration=False,
            discount_minor=0,
            invoice__status="open",
            invoice__account__cohort_members__cohort__name=COHORT,
        )
        .select_related("invoice")
        .order_by("invoice__number", "position")
        .first()
    )
    if line is None:
        return "no open invoice to credit"
    note = gateway.create_credit_note(
        invoice=line.invoice.stripe_invoice_id,
        lines=[
            gateway.CreditNoteLineSpec(
                invoice_line=line.stripe_line_id, amount_minor=CREDITED_MINOR, metadata={}
            )
        ],
        memo="With our apologies for the late start of the reports",
        metadata={},
        idempotency_key=f"demo-credit-{line.stripe_line_id}",
    )
    return f"{note.number} over {format_minor(note.total_minor, note.currency)}"
