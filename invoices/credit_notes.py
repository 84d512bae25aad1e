"""From a mirrored credit note to its content. Reads the database, calls nobody."""

from __future__ import annotations

from typing import cast

from billing_worker.core.rating import LineKind
from billing_worker.mirror.models import StripeCreditNote, StripeCreditNoteLine, StripeInvoice
from invoices.building import InvoiceIncomplete, build_frame, build_tax_sums
from invoices.content import ContentLine, Correction, InvoiceContent, LineTax, clean_text


def build_credit_note(invoice: StripeInvoice, subject: str) -> InvoiceContent:
    """What the document of a credit note (Stripe's id) says, as the mirror has it now. Its amounts are positive.

    Raises:
        InvoiceIncomplete: the credit note or its invoice is not all here yet.
    """
    account = invoice.account
    note = StripeCreditNote.objects.filter(
        stripe_credit_note_id=subject, stripe_invoice_id=invoice.stripe_invoice_id
    ).first()
    if note is None or not note.lines_complete or not note.number or not invoice.number or account is None:
        raise InvoiceIncomplete(
            f"credit note {subject} of {invoice.stripe_invoice_id} is not complete here yet"
        )
    lines = [_build_line(line, note) for line in note.lines.select_related("account").order_by("position")]
    given = note.refunded_minor + note.out_of_band_minor
    return InvoiceContent(
        **build_frame(account, invoice),
        **build_tax_sums(note),
        document_kind="credit_note",
        number=note.number,
        status=note.status,
        currency=note.currency,
        issued_at=note.effective_at or note.created_at,
        due_at=None,
        paid_at=None,
        voided_at=note.voided_at,
        subtotal_minor=sum(line.amount_minor for line in lines),
        total_discount_minor=note.total_discount_minor,
        total_tax_minor=note.total_tax_minor,
        total_minor=note.total_minor,
        starting_balance_minor=0,
        # Nobody owes it: how it is given stands in `correction`.
        amount_due_minor=note.total_minor,
        amount_paid_minor=note.total_minor,
        amount_remaining_minor=0,
        hosted_invoice_url="",
        lines=tuple(lines),
        correction=Correction(
            stripe_credit_note_id=note.stripe_credit_note_id,
            invoice_number=invoice.number,
            invoice_issued_at=invoice.finalized_at or invoice.created_at,
            reason=note.reason,
            memo=clean_text(note.memo),
            deducted_minor=note.pre_payment_minor,
            refunded_minor=note.refunded_minor,
            balance_minor=note.post_payment_minor - given,
            out_of_band_minor=note.out_of_band_minor,
        ),
    )


def _build_line(line: StripeCreditNoteLine, note: StripeCreditNote) -> ContentLine:
    issued_at = note.effective_at or note.created_at
    return ContentLine(
        id=line.stripe_line_id,
        kind=cast("LineKind", line.kind),
        account_id=line.account_id,
        account_name=clean_text(line.account.name) if line.account else "",
        # Fees and usage are named by their section, in the account's language; Stripe's words are English.
        description=clean_text(line.description) if line.kind in ("managed", "custom") else "",
        quantity=line.quantity,
        unit_amount_decimal=line.unit_amount_decimal,
        amount_minor=line.amount_minor,
        discount_minor=line.discount_minor,
        tax_minor=line.tax_minor,
        period_start=line.period_start or issued_at,
        period_end=line.period_end or issued_at,
        is_proration=False,
        taxes=tuple(LineTax.model_validate(tax) for tax in line.taxes),
    )
