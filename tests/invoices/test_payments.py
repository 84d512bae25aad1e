"""Why a payment failed: the attempts behind an invoice, on its page."""

from __future__ import annotations

from datetime import timedelta

import pytest

from billing_worker import gateway
from billing_worker.alerts.models import Alert
from billing_worker.gateway import GatewayUnavailable, InvoicePayment
from billing_worker.gateway import PaymentAttempt as Attempt
from billing_worker.mirror.models import StripeInvoice
from invoices.models import PaymentAttempt, PaymentReading
from invoices.services import sweeping
from invoices.services.payments import read_payments, select_unread_payments
from invoices.services.sweeping import sweep_invoices
from tests.invoices.factories import NOW, make_invoice, make_stored_document
from tests.invoices.test_receivers import send

pytestmark = pytest.mark.django_db


def make_attempt(id: str, status: str = "failed", **changes) -> Attempt:
    values = {
        "id": id,
        "status": status,
        "amount_minor": 52400,
        "currency": "usd",
        "created_at": NOW,
        "failure_code": "card_declined" if status == "failed" else "",
        "decline_reason": "insufficient_funds" if status == "failed" else "",
        "failure_message": "Your card has insufficient funds." if status == "failed" else "",
        "method": "card",
        "brand": "visa",
        "last4": "9995",
        **changes,
    }
    return Attempt(**values)


def make_payment(attempts: list[Attempt], id: str = "inpay_1", **changes) -> InvoicePayment:
    """A payment as Stripe tells it: paid, if one of its charges succeeded."""
    amount = sum(one.amount_minor for one in attempts if one.status == "succeeded")
    values = {
        "id": id,
        "status": "paid" if amount else "open",
        "amount_paid_minor": amount,
        "currency": "usd",
        "paid_at": NOW if amount else None,
        "attempts": tuple(attempts),
        **changes,
    }
    return InvoicePayment(**values)


@pytest.fixture
def stripe(monkeypatch) -> list[Attempt]:
    """What Stripe would list."""
    attempts = [make_attempt("ch_1")]
    monkeypatch.setattr(gateway, "list_invoice_payments", lambda invoice: [make_payment(attempts)])
    return attempts


def fail(invoice) -> None:
    send("invoice.payment_failed", invoice.stripe_invoice_id, attempt_count=1, next_payment_attempt=None)


def test_a_failed_payment_shows_why_on_the_page(stripe, admin_client):
    invoice = make_invoice(attempt_count=1, next_payment_attempt_at=NOW + timedelta(days=3))
    document = make_stored_document(invoice)
    fail(invoice)
    assert read_payments(invoice_id=invoice.pk, now=NOW)
    assert not read_payments(invoice_id=invoice.pk, now=NOW), "nothing new since"
    page = admin_client.get(f"/admin/invoices/invoicedocument/{document.pk}/change/").content.decode()
    assert "Visa ending 9995: 524.00 USD failed" in page
    assert "Insufficient funds: Your card has insufficient funds." in page
    assert "Stripe tries again at 2026-11-04 03:00 UTC (attempt 2)" in page


def test_a_later_payment_is_read_too_and_nothing_is_doubled(stripe):
    invoice = make_invoice()
    fail(invoice)
    read_payments(invoice_id=invoice.pk, now=NOW)
    stripe.append(make_attempt("ch_2", "succeeded", created_at=NOW + timedelta(days=3)))
    PaymentReading.objects.update(read_at=NOW - timedelta(days=1), wanted_at=NOW - timedelta(days=1))
    assert Alert.objects.get(name="payment_failed").status == "open"
    StripeInvoice.objects.filter(pk=invoice.pk).update(status="paid")
    send("invoice.paid", invoice.stripe_invoice_id)
    assert read_payments(invoice_id=invoice.pk, now=NOW)
    assert Alert.objects.get(name="payment_failed").status == "resolved", "nobody has to look any more"
    assert [(one.stripe_charge_id, one.status) for one in PaymentAttempt.objects.all()] == [
        ("ch_1", "failed"),
        ("ch_2", "succeeded"),
    ]


def test_without_receipts_an_invoice_that_was_paid_at_once_asks_nothing_of_stripe(stripe, settings):
    settings.ENV = settings.ENV.model_copy(update={"INVOICE_RECEIPTS": False})
    invoice = make_invoice()
    send("invoice.paid", invoice.stripe_invoice_id)
    assert not PaymentReading.objects.exists()


def test_what_stripe_did_not_answer_is_found_by_the_sweeper(monkeypatch, stripe):
    invoice = make_invoice()
    fail(invoice)

    def refuse(invoice):
        raise GatewayUnavailable("no answer", outcome_unknown=False)

    with monkeypatch.context() as patch:
        patch.setattr(gateway, "list_invoice_payments", refuse)
        assert not read_payments(invoice_id=invoice.pk, now=NOW)
    kicked: list[tuple[str, int]] = []

    def note(task: str, row: int) -> bool:
        kicked.append((task, row))
        return True

    monkeypatch.setattr(sweeping, "send_kick", note)
    assert sweep_invoices(now=NOW).payments_kicked == 1
    assert ("invoices.read_payments", invoice.pk) in kicked
    assert read_payments(invoice_id=invoice.pk, now=NOW)
    assert not select_unread_payments().exists()


def test_an_invoice_of_others_is_left_alone(stripe):
    invoice = make_invoice(account=None)
    fail(invoice)
    assert not PaymentReading.objects.exists()
