"""Receipts: for money that was really taken, once for each payment, in the account's language."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from billing_worker import gateway
from billing_worker.accounts.models import Account
from billing_worker.mirror.models import StripeInvoice
from invoices.checking import find_mismatches
from invoices.content import dump_content, load_content
from invoices.models import InvoiceDocument, InvoiceMail, InvoicePayment, PaymentReading
from invoices.rendering.pdf import render_pdf
from invoices.services.documents import NothingWouldChange, render_document, request_revision
from invoices.services.mails import deliver_mail, queue_first_mail
from invoices.services.payments import read_payments
from invoices.services.sweeping import sweep_invoices
from invoices.services.timeline import compile_timeline
from invoices.states import DocumentKind, DocumentState
from invoices.truth import collect_facts, find_untruths
from tests.invoices.factories import NOVEMBER, NOW, make_invoice, make_stored_document
from tests.invoices.samples import build_receipt
from tests.invoices.test_payments import make_attempt, make_payment
from tests.invoices.test_receivers import send


def select_receipts() -> QuerySet[InvoiceDocument]:
    return InvoiceDocument.objects.filter(kind=DocumentKind.RECEIPT).order_by("pk")


@pytest.fixture
def payments(monkeypatch) -> list[gateway.InvoicePayment]:
    """What Stripe lists: a declined charge and the one that succeeded."""
    charges = [make_attempt("ch_1"), make_attempt("ch_2", "succeeded", last4="4242")]
    told = [make_payment(charges)]
    monkeypatch.setattr(gateway, "list_invoice_payments", lambda invoice: list(told))
    return told


def make_paid(**changes) -> StripeInvoice:
    """An invoice that Stripe has collected, told twice and read twice."""
    values = {"status": "paid", "paid_at": NOW, "amount_paid_minor": 52400, **changes}
    invoice = make_invoice(**values)
    for _ in range(2):
        send("invoice.paid", invoice.stripe_invoice_id)
        read_payments(invoice_id=invoice.pk, now=NOW)
    return invoice


@pytest.mark.django_db
def test_a_paid_invoice_gets_one_receipt_and_one_mail_of_it(payments, read_mails):
    invoice = make_paid(number="ACC-0001", account__name="Nordlicht GmbH", account__address_country="DE")
    receipt = select_receipts().get()
    assert (receipt.number, receipt.subject, receipt.revision) == ("ACC-0001-R1", "inpay_1", 1)
    assert (receipt.total_minor, receipt.content["payment"]["last4"]) == (52400, "4242")
    assert render_document(document_id=receipt.pk, now=NOW)
    assert not render_document(document_id=receipt.pk, now=NOW)
    mail = InvoiceMail.objects.get()
    assert deliver_mail(mail_id=mail.pk, now=NOW)
    (message,) = read_mails()
    assert message["Subject"].strip().startswith("Zahlungsbeleg ACC-0001-R1 von ")
    body = message.get_body(("plain",)).get_content()
    assert "Visa •••• 4242" in body
    assert "wir haben 524,00\xa0$ zu Ihrer Rechnung ACC-0001 erhalten" in body
    assert [part.get_filename() for part in message.iter_attachments()] == ["ACC-0001-R1.pdf"]
    titles = [entry.title for entry in compile_timeline(invoice)]
    assert "Receipt ACC-0001-R1 revision 1 rendered and stored" in titles
    assert "Mail with Receipt ACC-0001-R1 sent" in titles


@pytest.mark.django_db
def test_the_invoice_and_its_receipt_are_mailed_once_each(payments):
    invoice = make_invoice()
    first = make_stored_document(invoice)
    StripeInvoice.objects.update(
        status="paid", paid_at=NOW, amount_paid_minor=52400, amount_remaining_minor=0
    )
    send("invoice.paid", invoice.stripe_invoice_id)
    read_payments(invoice_id=invoice.pk, now=NOW)
    receipt = select_receipts().get()
    assert render_document(document_id=receipt.pk, now=NOW)
    assert [mail.document_id for mail in InvoiceMail.objects.order_by("pk")] == [first.pk, receipt.pk]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "changes",
    [
        {"amount_paid_minor": 0, "amount_due_minor": 0},
        {"account": None},
        {"status": "open", "amount_paid_minor": 0},
    ],
    ids=["paid from the balance", "not ours", "not paid"],
)
def test_without_a_payment_there_is_no_receipt(payments, changes):
    invoice = make_paid(**changes)
    assert not PaymentReading.objects.filter(invoice=invoice, wants_receipts=True).exists()
    sweep_invoices(now=NOW)
    assert not select_receipts().exists()


@pytest.mark.django_db
def test_what_was_paid_outside_of_stripe_has_no_receipt(payments):
    payments.clear()
    make_paid()
    assert not select_receipts().exists()


@pytest.mark.django_db
def test_receipts_can_be_turned_off_and_what_was_paid_meanwhile_gets_none(payments, settings):
    settings.ENV = settings.ENV.model_copy(update={"INVOICE_RECEIPTS": False})
    invoice = make_paid()
    send("invoice.payment_failed", invoice.stripe_invoice_id, attempt_count=1, next_payment_attempt=None)
    assert read_payments(invoice_id=invoice.pk, now=NOW)
    settings.ENV = settings.ENV.model_copy(update={"INVOICE_RECEIPTS": True})
    sweep_invoices(now=NOW)
    assert InvoicePayment.objects.exists()
    assert not select_receipts().exists()


@pytest.mark.django_db
def test_each_payment_of_an_invoice_has_its_receipt_with_what_remains(payments):
    charges = [
        make_attempt("ch_3", "succeeded", amount_minor=20000, method="sepa_debit", brand="", last4="3000")
    ]
    payments.insert(0, make_payment(charges, "inpay_0", paid_at=NOW - timedelta(days=3)))
    payments[1:] = [make_payment([make_attempt("ch_4", "succeeded", amount_minor=32400)], "inpay_1")]
    make_paid(number="ACC-0001")
    told = [
        (
            one.number,
            one.total_minor,
            one.content["payment"]["paid_before_minor"],
            one.content["amount_remaining_minor"],
        )
        for one in select_receipts()
    ]
    assert told == [("ACC-0001-R1", 20000, 0, 32400), ("ACC-0001-R2", 32400, 20000, 0)]


@pytest.mark.django_db
def test_the_sweeper_makes_a_receipt_whose_invoice_was_not_complete(payments):
    invoice = make_paid(number="")
    assert not select_receipts().exists()
    StripeInvoice.objects.filter(pk=invoice.pk).update(number="ACC-0001")
    assert sweep_invoices(now=NOW).receipts_created == 1
    assert sweep_invoices(now=NOW).receipts_created == 0
    receipt = select_receipts().get()
    assert render_document(document_id=receipt.pk, now=NOW)
    InvoiceMail.objects.filter(document=receipt).delete()
    assert sweep_invoices(now=NOW).mails_queued == 1, "and queues a mail that got lost"


@pytest.mark.django_db
def test_payments_that_stripe_does_not_confirm_block_the_receipt(payments):
    make_paid(amount_paid_minor=50000, amount_remaining_minor=0)
    receipt = select_receipts().get()
    assert receipt.state == DocumentState.BLOCKED
    assert "no more than Stripe says was paid" in receipt.blocked_reason


@pytest.mark.django_db
def test_the_database_keeps_a_subject_from_having_two_first_mails_or_revisions(payments):
    make_paid()
    receipt = select_receipts().get()
    assert queue_first_mail(document=receipt, now=NOW)
    twin = InvoiceDocument.objects.get(pk=receipt.pk)
    twin.pk, twin.uuid = None, "00000000-0000-4000-8000-000000000001"
    with pytest.raises(IntegrityError), transaction.atomic():
        twin.save(force_insert=True)
    mail = InvoiceMail.objects.get()
    mail.pk, mail.sequence, mail.message_id = None, 1, "other@example.com"
    with pytest.raises(IntegrityError), transaction.atomic():
        mail.save(force_insert=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        InvoiceDocument.objects.filter(pk=receipt.pk).update(subject="")


@pytest.mark.django_db
def test_a_worker_that_missed_the_other_ones_mail_sends_none(payments, monkeypatch):
    """Two revisions that are finished at the same moment: each looks before the other writes."""
    make_paid()
    receipt = select_receipts().get()
    assert queue_first_mail(document=receipt, now=NOW)
    monkeypatch.setattr("django.db.models.query.QuerySet.exists", lambda self: False)
    assert queue_first_mail(document=receipt, now=NOW) is None
    assert InvoiceMail.objects.count() == 1


@pytest.mark.django_db
def test_a_receipt_is_made_again_on_its_own_page(payments, admin_client):
    invoice = make_paid(number="ACC-0001")
    receipt = select_receipts().get()
    assert render_document(document_id=receipt.pk, now=NOW)
    with pytest.raises(NothingWouldChange):
        request_revision(invoice_id=invoice.pk, subject=receipt.subject, reason="x", actor="ops", now=NOW)
    Account.objects.update(name="Renamed Ltd")
    page = f"/admin/invoices/invoicedocument/{receipt.pk}/"
    admin_client.post(f"{page}revise/", {"reason": "renamed"})
    again = select_receipts().get(revision=2)
    assert (again.kind, again.subject, again.requested_by) == ("receipt", "inpay_1", "admin")
    assert render_document(document_id=again.pk, now=NOW)
    assert InvoiceMail.objects.count() == 1, "a person's revision is mailed by a person"
    shown = admin_client.get(f"{page}change/").content.decode()
    assert "Superseded" in shown
    assert "Invoice ACC-0001" in shown, "the way to the invoice"


@pytest.mark.parametrize("locale", ["en_US", "de_DE", "fr_FR", "es_ES", "ja_JP"])
def test_the_truth_check_reads_a_receipt_in_every_language(locale):
    content = build_receipt(paid_before_minor=10000, amount_minor=50000).model_copy(update={"locale": locale})
    body = render_pdf(content).body
    assert find_untruths(content, body) == []
    payment = content.payment
    assert payment is not None
    other = content.model_copy(
        update={
            "number": "NWA-0006-R3",
            "account_id": 1043,
            "amount_remaining_minor": content.amount_remaining_minor + 1,
            "payment": payment.model_copy(
                update={
                    "invoice_number": "NWA-0005",
                    "amount_minor": 50001,
                    "paid_at": NOVEMBER + timedelta(days=9),
                }
            ),
        }
    )
    assert len(find_untruths(other, body)) == len(collect_facts(content)) == 6


def test_a_receipts_sums_are_checked():
    content = build_receipt(amount_minor=50000)
    assert find_mismatches(content) == []
    wrong = content.model_copy(update={"amount_remaining_minor": content.amount_remaining_minor + 1})
    assert [one.rule for one in find_mismatches(wrong)] == ["payments + remaining = due"]


def test_what_is_no_receipt_keeps_the_hash_that_it_had():
    content = build_receipt()
    assert load_content(dump_content(content)) == content
    assert "payment" not in dump_content(content.model_copy(update={"payment": None}))
