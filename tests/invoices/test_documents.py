"""From a finalized invoice to a stored PDF: once, checked, and in spite of everything."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.storage import storages
from django.db import IntegrityError, transaction
from facturx import get_xml_from_pdf

from billing_worker.accounts.models import Account
from billing_worker.alerts.models import Alert
from billing_worker.mirror.models import StripeInvoice
from invoices.building import build_content
from invoices.models import InvoiceDocument, InvoiceMail
from invoices.rendering import pdf
from invoices.services import documents
from invoices.services.documents import (
    NothingWouldChange,
    ensure_document,
    release_stale_renders,
    render_document,
    request_revision,
)
from invoices.states import DocumentState, MailState
from invoices.storage import store_pdf
from tests.factories import AccountPlanFactory
from tests.invoices.factories import (
    NOW,
    StripeInvoiceLineFactory,
    make_document,
    make_invoice,
    make_stored_document,
)

pytestmark = pytest.mark.django_db


def test_a_finalized_invoice_gets_one_document_however_often_it_is_announced():
    invoice = make_invoice()
    made = {ensure_document(invoice_id=invoice.pk, reason="test", now=NOW) for _ in range(3)}
    assert len(made) == 1
    document = InvoiceDocument.objects.get()
    assert (document.state, document.revision, document.period) == ("pending", 1, "2026-10")
    assert (document.total_minor, document.currency) == (52400, "usd")


def test_the_content_is_a_copy_in_our_words():
    invoice = make_invoice()
    AccountPlanFactory.create(account=invoice.account, plan_name="Growth")
    content = make_document(invoice).content
    assert [(line["kind"], line["amount_minor"]) for line in content["lines"]] == [
        ("sub", 49900),
        ("ST", 0),
        ("ST", 2500),
    ]
    assert content["lines"][0]["description"] == "Growth"
    assert content["lines"][2]["unit_amount_decimal"] == "0.025000000000"
    assert content["number"] == invoice.number


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"status": "draft", "number": ""}, "not finalized"),
        ({"account": None}, "a customer that is not ours"),
        ({"lines_complete": False}, "lines are missing"),
    ],
)
def test_an_invoice_that_is_not_ready_or_not_ours_gets_none(changes, why):
    invoice = make_invoice(**changes)
    assert ensure_document(invoice_id=invoice.pk, reason="test", now=NOW) is None, why
    assert not InvoiceDocument.objects.exists()


def test_an_invoice_made_by_others_for_a_customer_of_ours_is_left_alone():
    invoice = StripeInvoiceLineFactory.create(kind="custom").invoice
    assert ensure_document(invoice_id=invoice.pk, reason="test", now=NOW) is None


def test_a_sum_that_does_not_come_out_blocks_the_document_and_shows_the_arithmetic():
    document = make_document(make_invoice(subtotal_minor=52401))
    assert document.state == DocumentState.BLOCKED
    assert "we add up 524.00 USD, Stripe says 524.01 USD, a difference of 0.01 USD" in document.blocked_reason
    alert = Alert.objects.get(name="invoice_mismatch")
    assert alert.subject == document.number
    assert not render_document(document_id=document.pk, now=NOW)
    assert not InvoiceMail.objects.exists()


def test_rendering_stores_the_file_and_queues_one_mail(own_files: Path):
    document = make_stored_document()
    path = own_files / "invoices" / str(document.account_id) / f"{document.uuid}.pdf"
    body = path.read_bytes()
    assert body.startswith(b"%PDF-")
    assert document.storage_name == f"{document.account_id}/{document.uuid}.pdf"
    assert (document.pdf_bytes, document.pdf_sha256) == (len(body), hashlib.sha256(body).hexdigest())
    assert document.pdf_pages == 1
    mail = InvoiceMail.objects.get()
    assert (mail.state, mail.sequence, mail.document_id) == (MailState.QUEUED, 0, document.pk)
    assert mail.bcc == ["crm@example.com"]


def test_a_second_render_of_the_same_document_does_nothing(own_files: Path):
    document = make_stored_document()
    assert not render_document(document_id=document.pk, now=NOW)
    assert InvoiceMail.objects.count() == 1
    assert len(list((own_files / "invoices").rglob("*.pdf"))) == 1


def test_a_worker_killed_after_writing_the_file_is_made_good(own_files: Path, monkeypatch):
    document = make_document()

    class Killed(BaseException):
        pass

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(documents, "_settle_stored", die)
        with pytest.raises(Killed):
            render_document(document_id=document.pk, now=NOW)
    assert len(list((own_files / "invoices").rglob("*.pdf"))) == 1
    later = NOW + timedelta(minutes=11)
    assert release_stale_renders(now=NOW + timedelta(minutes=9)) == 0
    assert release_stale_renders(now=later) == 1
    assert render_document(document_id=document.pk, now=later)
    document.refresh_from_db()
    assert document.state == DocumentState.STORED
    assert InvoiceMail.objects.count() == 1
    assert len(list((own_files / "invoices").rglob("*.pdf"))) == 1


def test_half_a_file_of_a_dead_worker_is_replaced(own_files: Path):
    document = make_document()
    torso = own_files / "invoices" / documents.make_storage_name(document)
    torso.parent.mkdir(parents=True)
    torso.write_bytes(b"%PDF-1.7 half")
    assert render_document(document_id=document.pk, now=NOW)
    assert hashlib.sha256(torso.read_bytes()).hexdigest() == InvoiceDocument.objects.get().pdf_sha256


def test_a_worker_that_was_thought_dead_settles_nothing(monkeypatch):
    document = make_document()

    def slow(**kwargs):
        stored = store_pdf(**kwargs)
        release_stale_renders(now=NOW + timedelta(hours=1))
        return stored

    with monkeypatch.context() as patch:
        patch.setattr("invoices.services.documents.store_pdf", slow)
        assert not render_document(document_id=document.pk, now=NOW)
    assert not InvoiceMail.objects.exists()
    assert render_document(document_id=document.pk, now=NOW)
    assert InvoiceMail.objects.count() == 1


def test_a_failing_render_backs_off_and_gives_up_with_an_alert(monkeypatch):
    document = make_document()

    def fail(content, version):
        raise pdf.RenderFailed("a glyph is missing")

    now = NOW
    with monkeypatch.context() as patch:
        patch.setattr(documents, "render_pdf", fail)
        for _ in range(documents.MAX_ATTEMPTS):
            assert not render_document(document_id=document.pk, now=now)
            assert not render_document(document_id=document.pk, now=now), "not due before its back-off"
            now += timedelta(hours=1)
    document.refresh_from_db()
    assert (document.state, document.attempts) == (DocumentState.FAILED, 5)
    assert Alert.objects.get(name="pdf_failed").subject == document.number
    revived = request_revision(invoice_id=document.invoice_id, reason="font installed", actor="ops", now=now)
    assert (revived.pk, revived.state) == (document.pk, DocumentState.PENDING)
    assert render_document(document_id=document.pk, now=now)


def test_a_document_that_takes_its_workers_with_it_is_given_up():
    document = make_document()
    InvoiceDocument.objects.update(state=DocumentState.RENDERING, claimed_at=NOW, attempts=5)
    assert release_stale_renders(now=NOW + timedelta(hours=1)) == 0
    document.refresh_from_db()
    assert document.state == DocumentState.FAILED
    assert "worker died" in document.last_error


def test_a_new_revision_says_what_has_changed_and_sends_no_mail():
    invoice = make_invoice()
    first = make_stored_document(invoice)
    with pytest.raises(NothingWouldChange):
        request_revision(invoice_id=invoice.pk, reason="again", actor="ops", now=NOW)
    invoice.status, invoice.paid_at = "paid", NOW
    invoice.amount_paid_minor, invoice.amount_remaining_minor = 52400, 0
    invoice.save()
    second = request_revision(invoice_id=invoice.pk, reason="with the paid stamp", actor="ops", now=NOW)
    assert (second.revision, second.requested_by) == (2, "ops")
    assert render_document(document_id=second.pk, now=NOW)
    second.refresh_from_db()
    assert second.storage_name != first.storage_name
    assert second.pdf_sha256 != first.pdf_sha256
    assert InvoiceMail.objects.count() == 1


def test_a_zero_invoice_is_printed_and_mailed_like_any_other():
    invoice = StripeInvoiceLineFactory.create(
        invoice__subtotal_minor=0, invoice__status="paid", amount_minor=0, unit_amount_decimal=0
    ).invoice
    document = make_stored_document(invoice)
    assert document.total_minor == 0
    assert InvoiceMail.objects.count() == 1


def test_the_database_refuses_a_second_first_revision_and_a_stored_row_without_a_file():
    document = make_document()
    clone = InvoiceDocument.objects.get()
    clone.pk, clone.uuid, clone.content_hash = None, "0" * 32, "other"
    with pytest.raises(IntegrityError), transaction.atomic():
        clone.save(force_insert=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        InvoiceDocument.objects.filter(pk=document.pk).update(state=DocumentState.STORED)


def test_an_account_that_asks_for_it_gets_factur_x():
    invoice = make_invoice(customer_tax_ids=[{"type": "eu_vat", "value": "DE000000000"}])
    account = invoice.account
    account.invoice_format, account.address_country, account.locale = "facturx", "DE", "fr_CH"
    account.save()
    document = make_stored_document(invoice)
    assert document.locale == "fr_CH"
    assert document.content["buyer"]["vat_id"] == "DE000000000"
    with storages["invoices"].open(document.storage_name) as file:
        name, xml = get_xml_from_pdf(file.read())
    assert name == "factur-x.xml"
    assert b"524.00" in xml


def test_a_document_whose_xml_would_break_a_rule_is_blocked():
    """Without a country a machine could not tell whose tax law holds."""
    invoice = make_invoice()
    invoice.account.invoice_format = "facturx"
    invoice.account.save()
    document = make_document(invoice)
    assert document.state == DocumentState.BLOCKED
    assert document.blocked_reason == "BR-11: the buyer's address has no country"
    assert Alert.objects.filter(name="invoice_mismatch").exists()


def test_a_document_says_what_stripe_copied_onto_the_invoice_at_finalization():
    """Also in a revision that is made when account and customer have become something else."""
    address = {
        "line1": "Rue 1",
        "line2": "",
        "city": "Lyon",
        "state": "",
        "postal_code": "69001",
        "country": "FR",
    }
    invoice = make_invoice(
        customer_details={"name": "Alors SARL", "email": "", "address": address},
        customer_tax_ids=[{"type": "eu_vat", "value": "FRAB123456789"}],
    )
    first = make_document(invoice).content["buyer"]
    assert (first["name"], first["email"], first["country"]) == ("Alors SARL", "", "FR")
    assert first["address"] == ["Rue 1", "69001 Lyon", "France"]
    assert (first["tax_ids"], first["vat_id"]) == (["FRAB123456789"], "FRAB123456789")
    account = invoice.account
    account.name, account.tax_id_type, account.tax_id_value = "Later Inc", "us_ein", "12-3456789"
    account.address_city, account.address_country = "Springfield", "US"
    account.save()
    assert build_content(invoice).buyer.name == "Alors SARL"
    assert build_content(invoice).buyer.tax_ids == ("FRAB123456789",)
    invoice.customer_tax_ids = []
    assert build_content(invoice).buyer.tax_ids == (), "a number that came later is on the next invoice"
    invoice.customer_details = {"name": "", "email": "", "address": {}}
    bare = build_content(invoice).buyer
    assert (bare.name, bare.country) == ("Later Inc", "US"), "an invoice needs a name and an address"


def test_an_invoice_mirrored_before_prints_the_account_s_own():
    invoice = make_invoice()
    invoice.account.tax_id_type, invoice.account.tax_id_value = "jp_trn", "T0000000000000"
    invoice.account.save()
    buyer = make_document(invoice).content["buyer"]
    assert (buyer["tax_ids"], buyer["vat_id"]) == (["T0000000000000"], "")
    assert buyer["name"] == invoice.account.name


def test_a_revision_whose_number_another_worker_took_is_made_as_the_next(monkeypatch):
    """Two workers read that revision 1 is the newest; the slower one's content is another, and is not lost."""
    invoice = make_invoice()
    make_document(invoice)
    check = documents.find_mismatches

    def be_overtaken(content):
        monkeypatch.setattr(documents, "find_mismatches", check)
        revise(invoice, name="Faster Ltd")
        return check(content)

    monkeypatch.setattr(documents, "find_mismatches", be_overtaken)
    made = revise(invoice, name="Slower Ltd")
    assert (made.revision, made.content["buyer"]["name"]) == (3, "Slower Ltd")
    names = InvoiceDocument.objects.order_by("revision").values_list("content__buyer__name", flat=True)
    assert list(names)[1:] == ["Faster Ltd", "Slower Ltd"]


def revise(invoice: StripeInvoice, *, name: str) -> InvoiceDocument:
    Account.objects.update(name=name)
    return request_revision(invoice_id=invoice.pk, reason="renamed", actor="ops", now=NOW)
