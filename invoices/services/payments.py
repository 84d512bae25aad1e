"""Payments of invoices and the attempts at them, read from Stripe: for receipts, and for people who ask why."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog
from django.db import transaction
from django.db.models import F, Q, QuerySet

from billing_worker import gateway
from billing_worker.alerts.kicks import kick
from billing_worker.alerts.services import resolve_alert
from billing_worker.alerts.states import AlertName
from billing_worker.deadlocks import retry_when_undone
from billing_worker.gateway import InvoicePayment as Payment
from billing_worker.mirror.models import StripeInvoice
from invoices.models import InvoicePayment, PaymentAttempt, PaymentReading
from invoices.services.receipts import ensure_receipt

log = structlog.get_logger(__name__)


def want_payments(
    *, invoice: StripeInvoice, now: datetime, is_first: bool, for_receipts: bool = False
) -> None:
    """Note that an invoice's payments are to be read. Call it in the transaction of the event.

    Not `is_first` only refreshes what was read before: without receipts, an invoice that was paid at once has no story
    to tell, and asking Stripe about each would cost two calls an invoice at month end.
    """
    known = PaymentReading.objects.filter(invoice=invoice)
    changes: dict[str, Any] = {"wanted_at": now} | ({"wants_receipts": True} if for_receipts else {})
    if not known.update(**changes):
        if not (is_first or for_receipts):
            return
        PaymentReading.objects.create(invoice=invoice, **changes)
    kick("invoices.read_payments", invoice.pk)


def select_unread_payments() -> QuerySet[PaymentReading]:
    """Invoices whose attempts were not read since the last event about them."""
    return PaymentReading.objects.filter(Q(read_at__isnull=True) | Q(read_at__lt=F("wanted_at")))


def read_payments(*, invoice_id: int, now: datetime) -> bool:
    """Read an invoice's payments from Stripe if that is wanted, and make receipts. Not in a transaction. True if done.

    Stripe not answering leaves the row as it is: the sweeper comes back.
    """
    reading = select_unread_payments().select_related("invoice").filter(invoice=invoice_id).first()
    if reading is None:
        return False
    try:
        payments = gateway.list_invoice_payments(reading.invoice.stripe_invoice_id)
    except gateway.GatewayError as error:
        log.warning("payments_not_read", invoice=reading.invoice.stripe_invoice_id, error=str(error))
        return False
    _keep(reading, payments, now=now)
    attempts = [attempt for payment in payments for attempt in payment.attempts]
    if reading.invoice.status == "paid" and any(attempt.status == "failed" for attempt in attempts):
        subject = reading.invoice.number or reading.invoice.stripe_invoice_id
        resolve_alert(name=AlertName.PAYMENT_FAILED, subject=subject, now=now)
    return True


@retry_when_undone
def _keep(reading: PaymentReading, payments: list[Payment], *, now: datetime) -> None:
    with transaction.atomic():
        for attempt in (attempt for payment in payments for attempt in payment.attempts):
            PaymentAttempt.objects.update_or_create(
                stripe_charge_id=attempt.id,
                defaults={
                    "invoice": reading.invoice,
                    "status": attempt.status,
                    "amount_minor": attempt.amount_minor,
                    "currency": attempt.currency,
                    "tried_at": attempt.created_at,
                    "failure_code": attempt.failure_code[:64],
                    "decline_reason": attempt.decline_reason[:64],
                    "failure_message": attempt.failure_message[:500],
                    "method": attempt.method[:32],
                    "brand": attempt.brand[:32],
                    "last4": attempt.last4[:8],
                },
            )
        made = [_keep_payment(reading, payment) for payment in payments if payment.status == "paid"]
        if reading.wants_receipts:
            for payment in made:
                ensure_receipt(payment, reason="invoice.paid", now=now)
        # What was wanted before we asked is answered; a later event is not.
        PaymentReading.objects.filter(pk=reading.pk).update(read_at=max(now, reading.wanted_at))


def _keep_payment(reading: PaymentReading, payment: Payment) -> InvoicePayment:
    """A payment, with the method of the charge that succeeded, once; it does not change after it was made."""
    charge = next((attempt for attempt in reversed(payment.attempts) if attempt.status == "succeeded"), None)
    kept, _ = InvoicePayment.objects.get_or_create(
        stripe_payment_id=payment.id,
        defaults={
            "invoice": reading.invoice,
            "amount_minor": payment.amount_paid_minor,
            "currency": payment.currency,
            "paid_at": payment.paid_at or reading.wanted_at,
            "method": charge.method[:32] if charge else "",
            "brand": charge.brand[:32] if charge else "",
            "last4": charge.last4[:8] if charge else "",
        },
    )
    return kept
