"""What Stripe's events do to documents and timelines, repeated and in any order."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from billing_worker.alerts.models import Alert
from billing_worker.mirror.models import StripeInvoice
from billing_worker.webhooks.registry import StripeEvent, get_receivers
from invoices.models import InvoiceDocument, InvoiceEvent, InvoiceMail
from invoices.services.documents import render_document
from invoices.services.sweeping import sweep_invoices
from invoices.services.timeline import TimelineEntry, compile_timeline, measure_steps
from tests.invoices.factories import NOVEMBER, NOW, make_invoice, make_stored_document

pytestmark = pytest.mark.django_db


def send(type_: str, invoice_id: str, *, event_id: str = "", **payload: Any) -> None:
    event = StripeEvent(
        id=event_id or f"evt_{type_}",
        type=type_,
        created_at=NOVEMBER + timedelta(hours=1),
        object={"id": invoice_id, **payload},
        previous_attributes={},
        customer="cus_1",
        now=NOW,
    )
    for receiver in get_receivers(type_):
        if receiver.__module__ == "invoices.receivers":
            receiver(event)


@pytest.mark.parametrize("order", list(itertools.permutations(["invoice.finalized", "invoice.paid"])))
def test_events_in_any_order_and_twice_make_one_document(order):
    invoice = make_invoice()
    for type_ in (*order, *order):
        send(type_, invoice.stripe_invoice_id)
    assert InvoiceDocument.objects.count() == 1
    assert sorted(InvoiceEvent.objects.values_list("name", flat=True)) == ["finalized", "paid"]


def test_an_invoice_of_an_unknown_customer_is_left_alone():
    invoice = make_invoice(account=None)
    send("invoice.finalized", invoice.stripe_invoice_id)
    send("invoice.finalized", "in_never_seen")
    assert not InvoiceDocument.objects.exists()
    assert not InvoiceEvent.objects.exists()


def test_a_failed_payment_is_on_the_timeline_and_alerts_once():
    invoice = make_invoice()
    for _ in range(2):
        send(
            "invoice.payment_failed",
            invoice.stripe_invoice_id,
            attempt_count=2,
            next_payment_attempt=1793793600,
            amount_remaining=52400,
        )
    assert InvoiceEvent.objects.get().detail == {
        "attempt_count": 2,
        "next_payment_attempt_at": "2026-11-04 12:00",
    }
    alert = Alert.objects.get(name="payment_failed")
    assert alert.raised_count == 1
    assert "Attempt 2 failed" in alert.detail


def test_the_timeline_tells_the_story_in_order():
    invoice = make_invoice()
    send("invoice.finalized", invoice.stripe_invoice_id)
    document = InvoiceDocument.objects.get()
    assert [entry.title for entry in compile_timeline(invoice)] == [
        "Stripe: finalized",
        "Invoice revision 1 made",
    ]
    document.delete()
    make_stored_document(invoice)
    assert [entry.title for entry in compile_timeline(invoice)] == [
        "Stripe: finalized",
        "Invoice revision 1 made",
        "Invoice revision 1 rendered and stored",
        "Mail queued",
    ]


def test_the_timeline_says_how_long_each_step_took():
    waits = [0, 2.5, 240, 7200, 3 * 86400]
    at, entries = NOW, []
    for wait in waits:
        at += timedelta(seconds=wait)
        entries.append(TimelineEntry(at, 0, "x"))
    assert [gap for _, gap in measure_steps(entries)] == ["", "+2.5 s", "+4 min", "+2 h", "+3 d"]


def void(invoice: StripeInvoice) -> None:
    invoice.status, invoice.voided_at = "void", NOW
    invoice.amount_remaining_minor = 0
    invoice.save()
    for _ in range(2):
        send("invoice.voided", invoice.stripe_invoice_id)


def test_a_voided_invoice_gets_one_void_revision_that_is_not_mailed(admin_client):
    invoice = make_invoice()
    first = make_stored_document(invoice)
    void(invoice)
    second = InvoiceDocument.objects.get(revision=2)
    assert (second.reason, second.content["status"], second.requested_by) == ("invoice.voided", "void", "")
    assert InvoiceDocument.objects.count() == 2
    assert render_document(document_id=second.pk, now=NOW)
    assert InvoiceMail.objects.get().document == first
    page = admin_client.get(f"/admin/invoices/invoicedocument/{first.pk}/change/").content.decode()
    assert "Superseded" in page
    page = admin_client.get(f"/admin/invoices/invoicedocument/{second.pk}/change/").content.decode()
    assert "Superseded" not in page


def test_an_invoice_voided_before_its_mail_asks_nobody_to_pay():
    invoice = make_invoice()
    send("invoice.finalized", invoice.stripe_invoice_id)
    void(invoice)
    first, second = InvoiceDocument.objects.order_by("revision")
    assert render_document(document_id=first.pk, now=NOW)
    assert not InvoiceMail.objects.exists()
    assert render_document(document_id=second.pk, now=NOW)
    assert InvoiceMail.objects.get().document == second
    InvoiceMail.objects.all().delete()
    sweep_invoices(now=NOW)
    assert InvoiceMail.objects.get().document == second, "the sweeper finds the same one"


def test_an_uncollectible_invoice_is_still_owed_and_keeps_its_document():
    invoice = make_invoice()
    make_stored_document(invoice)
    invoice.status = "uncollectible"
    invoice.save()
    send("invoice.marked_uncollectible", invoice.stripe_invoice_id)
    assert InvoiceDocument.objects.count() == 1
    assert InvoiceEvent.objects.get().name == "marked_uncollectible"
