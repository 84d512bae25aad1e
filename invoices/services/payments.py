"""The attempts to collect an invoice, read from Stripe after a payment failed, for people who ask why."""

from __future__ import annotations

from datetime import datetime

import structlog
from django.db import transaction
from django.db.models import F, Q, QuerySet

from billing_worker import gateway
from billing_worker.alerts.kicks import kick
from billing_worker.deadlocks import retry_when_undone
from billing_worker.gateway import PaymentAttempt as Attempt
from billing_worker.mirror.models import StripeInvoice
from invoices.models import PaymentAttempt, PaymentReading

log = structlog.get_logger(__name__)


def want_payments(*, invoice: StripeInvoice, now: datetime, is_first: bool) -> None:
    """Note that an invoice's attempts are to be read. Call it in the transaction of the event.

    Not `is_first` only refreshes what was read before: an invoice that was paid at once has no story to tell, and
    asking Stripe about each would cost two calls an invoice at month end.
    """
    known = PaymentReading.objects.filter(invoice=invoice)
    if not known.update(wanted_at=now):
        if not is_first:
            return
        PaymentReading.objects.create(invoice=invoice, wanted_at=now)
    kick("invoices.read_payments", invoice.pk)


def select_unread_payments() -> QuerySet[PaymentReading]:
    """Invoices whose attempts were not read since the last event about them."""
    return PaymentReading.objects.filter(Q(read_at__isnull=True) | Q(read_at__lt=F("wanted_at")))


def read_payments(*, invoice_id: int, now: datetime) -> bool:
    """Read an invoice's attempts from Stripe if that is wanted. Not in a transaction. True if it was done.

    Stripe not answering leaves the row as it is: the sweeper comes back.
    """
    reading = select_unread_payments().select_related("invoice").filter(invoice=invoice_id).first()
    if reading is None:
        return False
    try:
        attempts = gateway.list_payment_attempts(reading.invoice.stripe_invoice_id)
    except gateway.GatewayError as error:
        log.warning("payments_not_read", invoice=reading.invoice.stripe_invoice_id, error=str(error))
        return False
    _keep(reading, attempts, now=now)
    return True


@retry_when_undone
def _keep(reading: PaymentReading, attempts: list[Attempt], *, now: datetime) -> None:
    with transaction.atomic():
        for attempt in attempts:
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
        # What was wanted before we asked is answered; a later event is not.
        PaymentReading.objects.filter(pk=reading.pk).update(read_at=max(now, reading.wanted_at))
