"""Credit notes: a document and a mail each, what it takes off its invoice, and what happens when it is voided."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from billing_worker.mirror.models import StripeCreditNote, StripeInvoice
from invoices.building import build_content
from invoices.checking import find_mismatches
from invoices.content import InvoiceContent, dump_content, load_content
from invoices.einvoice import build_xml, carries_xml, find_einvoice_problems
from invoices.models import InvoiceDocument, InvoiceEvent, InvoiceMail
from invoices.rendering.pdf import render_pdf
from invoices.services.credit_notes import ensure_credit_note
from invoices.services.documents import render_document, request_revision
from invoices.services.mails import deliver_mail
from invoices.services.sweeping import sweep_invoices
from invoices.services.timeline import compile_timeline
from invoices.states import DocumentState
from invoices.truth import collect_facts, find_untruths, read_text
from tests.invoices.factories import (
    NOVEMBER,
    NOW,
    StripeCreditNoteFactory,
    make_credit_note,
    make_invoice,
    make_stored_document,
)
from tests.invoices.samples import build_credit_note
from tests.invoices.test_receivers import send


def make_paid_invoice(**changes) -> StripeInvoice:
    return make_invoice(status="paid", paid_at=NOW, amount_paid_minor=52400, **changes)


def find_document(**changes) -> InvoiceDocument:
    return InvoiceDocument.objects.get(kind="credit_note", **changes)


def void(note: StripeCreditNote) -> None:
    StripeCreditNote.objects.filter(pk=note.pk).update(status="void", voided_at=NOW)
    for _ in range(2):
        send("credit_note.voided", note.stripe_credit_note_id)


@pytest.mark.django_db
def test_a_credit_note_is_printed_stored_and_mailed_once(read_mails):
    invoice = make_paid_invoice(number="ACC-0001", account__address_country="FR")
    make_stored_document(invoice)
    note = make_credit_note(invoice, memo="Campaign stopped early")
    for _ in range(2):
        send("credit_note.created", note.stripe_credit_note_id)
    document = find_document()
    assert (document.number, document.total_minor, document.period) == ("ACC-0001-CN-01", 10000, "2026-10")
    assert render_document(document_id=document.pk, now=NOW)
    mail = InvoiceMail.objects.get(document=document)
    assert deliver_mail(mail_id=mail.pk, now=NOW)
    message = read_mails()[-1]
    assert message["Subject"].strip().startswith("Avoir ACC-0001-CN-01 de ")
    body = message.get_body(("plain",)).get_content()
    assert "relatif à votre facture ACC-0001" in body
    assert "Campaign stopped early." in body
    assert "remboursé sur votre moyen de paiement" in body
    assert [part.get_filename() for part in message.iter_attachments()] == ["ACC-0001-CN-01.pdf"]
    titles = [entry.title for entry in compile_timeline(invoice)]
    assert titles.count("Stripe: credit note created") == 1
    assert "Mail with Credit note ACC-0001-CN-01 sent" in titles
    detail = InvoiceEvent.objects.get().detail
    assert detail == {"number": "ACC-0001-CN-01", "total": "100.00 USD"}


@pytest.mark.django_db
@pytest.mark.parametrize("order", list(itertools.permutations(["created", "updated", "voided"])))
def test_a_credit_note_voided_before_its_mail_is_mailed_once_as_void(order):
    note = make_credit_note(make_paid_invoice(), status="void", voided_at=NOW)
    for verb in (*order, *order):
        send(f"credit_note.{verb}", note.stripe_credit_note_id)
    document = find_document()
    assert render_document(document_id=document.pk, now=NOW)
    assert document.content["status"] == "void"
    assert InvoiceMail.objects.count() == 1


@pytest.mark.django_db
def test_voiding_and_a_new_memo_supersede_what_was_mailed_without_another_mail(admin_client):
    invoice = make_invoice(amount_due_minor=42400)
    note = make_credit_note(invoice, pre_payment_minor=10000, refunded_minor=0)
    send("credit_note.created", note.stripe_credit_note_id)
    assert render_document(document_id=find_document().pk, now=NOW)
    StripeCreditNote.objects.update(metadata={"ticket": "9"})
    send("credit_note.updated", note.stripe_credit_note_id)
    assert find_document().revision == 1, "metadata is not printed"
    StripeCreditNote.objects.update(memo="As agreed by phone")
    send("credit_note.updated", note.stripe_credit_note_id, event_id="evt_memo")
    void(note)
    assert [one.revision for one in InvoiceDocument.objects.order_by("revision")] == [1, 2, 3]
    for revision in (2, 3):
        assert render_document(document_id=find_document(revision=revision).pk, now=NOW)
    sweep_invoices(now=NOW)
    assert InvoiceMail.objects.get().document == find_document(revision=1)
    page = admin_client.get(f"/admin/invoices/invoicedocument/{find_document(revision=1).pk}/change/")
    assert "revision 3" in page.content.decode()


@pytest.mark.django_db
def test_each_credit_note_of_an_invoice_has_its_own_mail():
    invoice = make_paid_invoice()
    for number in ("CN-01", "CN-02"):
        note = make_credit_note(invoice, number=f"{invoice.number}-{number}", total_minor=5000)
        send("credit_note.created", note.stripe_credit_note_id, event_id=f"evt_{number}")
    for document in InvoiceDocument.objects.all():
        assert render_document(document_id=document.pk, now=NOW)
    assert InvoiceMail.objects.count() == InvoiceDocument.objects.count() == 2
    InvoiceMail.objects.order_by("pk").first().delete()
    assert sweep_invoices(now=NOW).mails_queued == 1, "the other one's mail is not its mail"


@pytest.mark.django_db
def test_credit_notes_of_others_are_left_alone():
    theirs = make_credit_note(make_invoice(account=None), account=None)
    by_hand = make_invoice()
    by_hand.lines.update(kind="custom")
    ours_by_hand = make_credit_note(by_hand)
    unknown = StripeCreditNoteFactory.create(stripe_invoice_id="in_never_seen")
    for note in (theirs, ours_by_hand, unknown):
        send("credit_note.created", note.stripe_credit_note_id, event_id=f"evt_{note.pk}")
    sweep_invoices(now=NOW)
    assert not InvoiceDocument.objects.filter(kind="credit_note").exists()


@pytest.mark.django_db
def test_the_sweeper_finds_credit_notes_that_were_not_complete():
    invoice = make_paid_invoice()
    note = make_credit_note(invoice, lines_complete=False)
    send("credit_note.created", note.stripe_credit_note_id)
    assert sweep_invoices(now=NOW).credit_notes_created == 0
    StripeCreditNote.objects.update(lines_complete=True)
    assert sweep_invoices(now=NOW).credit_notes_created == 1
    assert sweep_invoices(now=NOW).credit_notes_created == 0
    document = find_document()
    assert render_document(document_id=document.pk, now=NOW)
    InvoiceMail.objects.all().delete()
    assert sweep_invoices(now=NOW).mails_queued == 1


@pytest.mark.django_db
def test_a_credit_note_whose_parts_do_not_add_up_is_blocked():
    note = make_credit_note(make_paid_invoice(), refunded_minor=10001)
    document = ensure_credit_note(stripe_credit_note_id=note.stripe_credit_note_id, reason="test", now=NOW)
    assert document is not None
    assert document.state == DocumentState.BLOCKED
    assert "-0.01 USD" in document.blocked_reason


@pytest.mark.django_db
def test_the_invoice_says_what_a_credit_note_took_off_what_is_due(admin_client):
    invoice = make_invoice(amount_due_minor=42400, number="ACC-0001")
    note = make_credit_note(invoice, pre_payment_minor=10000, refunded_minor=0)
    document = make_stored_document(invoice)
    content = load_content(document.content)
    assert content.credited_minor == 10000
    text = read_text(render_pdf(content).body)
    assert "Credit notes" in text
    assert "Balance applied" not in text
    page = admin_client.get(f"/admin/invoices/invoicedocument/{document.pk}/change/").content.decode()
    assert "-100.00 USD" in page
    assert "100.00 USD deducted from what is due · order change" in page
    assert "<b>100.00 USD</b> off the invoice and leave <b>424.00 USD</b>" in page
    void(note)
    assert build_content(invoice).credited_minor == 0
    page = admin_client.get(f"/admin/invoices/invoicedocument/{document.pk}/change/").content.decode()
    assert "void, takes nothing off" in page
    assert "leave <b>524.00 USD</b>" in page


@pytest.mark.django_db
def test_a_person_makes_a_credit_note_again():
    note = make_credit_note(make_paid_invoice())
    send("credit_note.created", note.stripe_credit_note_id)
    first = find_document()
    StripeCreditNote.objects.update(memo="Corrected")
    again = request_revision(
        invoice_id=first.invoice_id, subject=first.subject, reason="memo", actor="ops", now=NOW
    )
    assert (again.kind, again.revision, again.content["correction"]["memo"]) == (
        "credit_note",
        2,
        "Corrected",
    )


def test_a_line_is_shown_with_quantity_and_price_only_where_they_explain_the_amount():
    whole = build_credit_note()
    text = read_text(render_pdf(whole).body)
    assert "1,000,000 $1.25 $1,250.00" in " ".join(text.split())
    part = whole.lines[0].model_copy(update={"amount_minor": 50000})
    text = read_text(render_pdf(build_credit_note([part])).body)
    assert "1,000,000" not in text


def change(content: InvoiceContent) -> InvoiceContent:
    """The same credit note with every fact a little different."""
    correction = content.correction
    assert correction is not None
    return content.model_copy(
        update={
            "number": "NWA-0006-CN-02",
            "account_id": 1043,
            "total_minor": content.total_minor + 1,
            "issued_at": NOVEMBER + timedelta(days=9),
            "correction": correction.model_copy(update={"invoice_number": "NWA-0005"}),
        }
    )


@pytest.mark.parametrize("locale", ["en_US", "de_DE", "fr_FR", "es_ES", "ja_JP"])
def test_the_truth_check_reads_a_credit_note_in_every_language(locale):
    content = build_credit_note().model_copy(update={"locale": locale})
    body = render_pdf(content).body
    assert find_untruths(content, body) == []
    assert len(find_untruths(change(content), body)) == len(collect_facts(content)) == 5


@pytest.mark.parametrize(
    ("given", "rules"),
    [
        ({"refunded_minor": 165000}, []),
        ({"deducted_minor": 65000, "out_of_band_minor": 100000}, []),
        ({"refunded_minor": 164999}, ["deducted + refunded + balance + otherwise = total"]),
        (
            {"refunded_minor": 165001, "balance_minor": -1},
            ["no less than nothing is credited to the balance"],
        ),
    ],
)
def test_the_parts_of_a_credit_note_are_its_total(given, rules):
    assert [one.rule for one in find_mismatches(build_credit_note(**given))] == rules


def test_an_e_invoice_names_the_invoice_that_it_corrects():
    content = build_credit_note().model_copy(update={"invoice_format": "facturx"})
    assert find_einvoice_problems(content) == []
    xml = build_xml(content).decode()
    assert "<ram:TypeCode>381</ram:TypeCode>" in xml
    reference = xml.partition("<ram:InvoiceReferencedDocument>")[2]
    assert "<ram:IssuerAssignedID>NWA-0006</ram:IssuerAssignedID>" in reference
    assert ">20261101<" in reference
    assert "<ram:DuePayableAmount>0.00</ram:DuePayableAmount>" in xml
    assert "The amount is refunded to your payment method." in xml
    assert "All impressions" not in xml, "tiers are not told of parts of them"
    assert not carries_xml(content.model_copy(update={"status": "void"}))


def test_what_is_no_credit_note_keeps_the_hash_that_it_had():
    data = dump_content(build_credit_note())
    assert load_content(data) == build_credit_note()
    assert "payment" not in data
    assert "credited_minor" not in data
