"""From a payment of a mirrored invoice to the content of its receipt. Reads the database, calls nobody."""

from __future__ import annotations

from billing_worker.accounts.models import Account
from billing_worker.mirror.models import StripeInvoice
from invoices.building import InvoiceIncomplete, build_frame
from invoices.content import InvoiceContent, Payment
from invoices.models import InvoicePayment


def build_receipt(invoice: StripeInvoice, subject: str) -> InvoiceContent:
    """What the receipt of one payment (Stripe's id) says. Payments are numbered in the order in which they were made.

    Raises:
        InvoiceIncomplete: the invoice has no number or payer, or the payment was not read yet.
    """
    account: Account | None = invoice.account
    payments = list(InvoicePayment.objects.filter(invoice=invoice).order_by("paid_at", "stripe_payment_id"))
    place = next((n for n, payment in enumerate(payments) if payment.stripe_payment_id == subject), None)
    if account is None or not invoice.number or place is None:
        raise InvoiceIncomplete(
            f"the payment {subject} of {invoice.stripe_invoice_id} is not complete here yet"
        )
    payment = payments[place]
    before = sum(earlier.amount_minor for earlier in payments[:place])
    return InvoiceContent(
        **build_frame(account, invoice),
        document_kind="receipt",
        number=f"{invoice.number}-R{place + 1}",
        status="paid",
        currency=payment.currency,
        issued_at=payment.paid_at,
        due_at=None,
        paid_at=payment.paid_at,
        voided_at=None,
        subtotal_minor=payment.amount_minor,
        total_discount_minor=0,
        total_tax_minor=0,
        total_minor=payment.amount_minor,
        starting_balance_minor=0,
        amount_due_minor=invoice.amount_due_minor,
        amount_paid_minor=invoice.amount_paid_minor,
        amount_remaining_minor=invoice.amount_due_minor - before - payment.amount_minor,
        hosted_invoice_url="",
        lines=(),
        payment=Payment(
            stripe_payment_id=payment.stripe_payment_id,
            invoice_number=invoice.number,
            invoice_issued_at=invoice.finalized_at or invoice.created_at,
            invoice_total_minor=invoice.total_minor,
            amount_minor=payment.amount_minor,
            paid_before_minor=before,
            paid_at=payment.paid_at,
            method=payment.method,
            brand=payment.brand,
            last4=payment.last4,
            invoice_tax_minor=invoice.total_tax_minor if invoice.inclusive_tax_minor else 0,
        ),
    )
