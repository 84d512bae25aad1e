"""What waits for a person: found, told on the document's page, and ended by one decision with a reason."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from openpyxl import load_workbook

from billing_worker.accounts.models import AuditEntry
from billing_worker.core.errors import InvalidInput
from invoices.attention import filter_needing, find_needing
from invoices.models import InvoiceDocument, InvoiceMail
from invoices.services.documents import stamp_void
from invoices.services.mails import (
    DocumentSuperseded,
    MailedMeanwhile,
    queue_mail,
    resend_document,
    waive_mail,
)
from invoices.services.timeline import compile_timeline
from invoices.services.tracking import apply_tracking
from invoices.states import DocumentState, MailState
from tests.cohorts.factories import make_person
from tests.invoices.factories import NOW, make_document, make_invoice

pytestmark = [pytest.mark.django_db, pytest.mark.database]
LIST = "/admin/invoices/invoicedocument/"


def store(document: InvoiceDocument) -> InvoiceDocument:
    """As if a worker had printed it: these tests are about what comes after."""
    InvoiceDocument.objects.filter(pk=document.pk).update(
        state=DocumentState.STORED, stored_at=NOW, pdf_sha256="0" * 64, storage_name="1/x.pdf", pdf_pages=1
    )
    document.refresh_from_db()
    queue_mail(document=document, now=NOW)
    return document


def make_void() -> InvoiceDocument:
    """The VOID revision of an invoice that was mailed before."""
    invoice = make_invoice()
    store(make_document(invoice))
    invoice.status = "void"
    invoice.save()
    void = stamp_void(invoice_id=invoice.pk, reason="invoice.voided", now=NOW)
    assert void is not None
    return store(void)


def find(key: str) -> list[int]:
    return list(filter_needing(InvoiceDocument.objects.order_by("pk"), key).values_list("pk", flat=True))


def make_client(role: str = "ops") -> Client:
    client = Client()
    client.force_login(make_person(f"the-{role}", role))
    return client


def test_each_reason_finds_its_own_and_later_events_end_it():
    fine = store(make_document())
    blocked, gave_up = make_document(), make_document()
    InvoiceDocument.objects.filter(pk=blocked.pk).update(state="blocked", blocked_reason="1 is not 2")
    InvoiceDocument.objects.filter(pk=gave_up.pk).update(state="failed")
    bounced, doubtful = store(make_document()), store(make_document())
    InvoiceMail.objects.filter(document=bounced).update(state=MailState.BOUNCED)
    InvoiceMail.objects.filter(document=doubtful).update(state=MailState.UNKNOWN)
    void = make_void()
    assert {key: sorted(found) for key, found in find_needing().items()} == {
        "blocked": [blocked.pk],
        "gave_up": [gave_up.pk],
        "lost": [bounced.pk],
        "in_doubt": [doubtful.pk],
        "unmailed": [void.pk],
    }
    assert find("any") == sorted([blocked.pk, gave_up.pk, bounced.pk, doubtful.pk, void.pk])
    assert fine.pk not in find("any")
    assert find("nonsense") == list(InvoiceDocument.objects.order_by("pk").values_list("pk", flat=True))

    resend_document(document_id=bounced.pk, to=["b@example.com"], reason="moved", actor="ops", now=NOW)
    assert find("lost") == []
    InvoiceMail.objects.filter(document=bounced, sequence=1).update(state=MailState.FAILED)
    assert find("lost") == [bounced.pk], "the newest mail counts"
    InvoiceMail.objects.filter(document=bounced, sequence=1).update(
        state=MailState.COMPLAINED, sent_at=NOW
    )  # fmt: skip
    assert find("lost") == [], "a complaint arrived"
    resend_document(document_id=void.pk, to=["b@example.com"], reason="voided", actor="ops", now=NOW)
    assert find("unmailed") == []


def test_what_a_later_revision_took_the_place_of_waits_no_more():
    void = make_void()
    first = void.invoice.documents.get(revision=1)
    InvoiceDocument.objects.filter(pk=first.pk).update(
        state="blocked", blocked_reason="x", stored_at=None
    )  # fmt: skip
    assert find("blocked") == []
    InvoiceDocument.objects.filter(pk=void.pk).update(requested_by="ada")
    assert find("unmailed") == [], "who asked for it decides about its mail"


def test_a_void_revision_is_mailed_or_let_be_with_one_press():
    mailed, let_be = make_void(), make_void()
    client = make_client()
    page = client.get(f"{LIST}{mailed.pk}/change/").content.decode()
    assert "Nobody was mailed about this revision" in page
    assert "The invoice was voided after it was mailed" in page
    assert f"Mail it to {mailed.account.billing_email}" in page
    listed = client.get(LIST, {"needs": "unmailed"}).content.decode()
    assert "VOID revisions and revised credit notes are mailed by a person" in listed

    form = {"seen": "-1", "to": mailed.account.billing_email, "reason": "The invoice was voided"}
    client.post(f"{LIST}{mailed.pk}/resend/", form)
    again = client.post(f"{LIST}{mailed.pk}/resend/", form, follow=True).content.decode()
    assert "Nothing was sent: the-ops sent it to" in again
    assert mailed.mails.get().reason == "The invoice was voided"

    client.post(f"{LIST}{let_be.pk}/waive/", {"reason": " "})
    assert find("unmailed") == [let_be.pk]
    client.post(f"{LIST}{let_be.pk}/waive/", {"reason": "told on the phone"})
    assert find("unmailed") == []
    assert AuditEntry.objects.get(action="invoices.mail_waived").reason == "told on the phone"
    assert "Nobody is mailed about this revision: told on the phone" in (
        client.get(f"{LIST}{let_be.pk}/change/").content.decode()
    )
    engineer = make_client("engineer")
    assert engineer.post(f"{LIST}{let_be.pk}/waive/", {"reason": "x"}).status_code == 403
    with pytest.raises(MailedMeanwhile):
        waive_mail(document_id=mailed.pk, reason="x", actor="ada", now=NOW)


def test_an_older_revision_is_only_sent_to_who_means_it():
    void = make_void()
    first = void.invoice.documents.get(revision=1)
    send = {"document_id": first.pk, "to": ["a@example.com"], "reason": "asked", "actor": "ada", "now": NOW}
    with pytest.raises(DocumentSuperseded, match="superseded by revision 2: send that one"):
        resend_document(**send)
    assert resend_document(**send, older_is_meant=True).sequence == 1
    page = make_client().get(f"{LIST}{first.pk}/change/").content.decode()
    assert "I mean revision 1, not revision 2" in page
    assert "Make a new revision" not in page


@pytest.mark.parametrize(
    ("to", "reason", "says"),
    [
        (["a@example.com"], "  ", "say why"),
        (["a@example.com"], "x" * 201, "has 201 characters: 200 are kept"),
        ([], "moved", "say to whom"),
        (["no address"], "moved", "“no address” is not a mail address"),
        (["a@example.com\nBcc: b@example.com"], "moved", "is not a mail address"),
        ([f"{n}@example.com" for n in range(21)], "moved", "21 addresses are too many"),
        (
            ["a@example.com", "real@customer.test"],
            "moved",
            "mail goes to example.com only (MAIL_ALLOWLIST): real@customer.test is refused",
        ),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is_queued(settings, to, reason, says):
    settings.ENV = settings.ENV.model_copy(update={"MAILGUN_API_KEY": "key"})
    document = store(make_document())
    with pytest.raises(InvalidInput) as refused:
        resend_document(document_id=document.pk, to=to, reason=reason, actor="ada", now=NOW)
    assert says in str(refused.value)
    assert document.mails.count() == 1


def test_what_was_typed_is_offered_again_after_a_refusal():
    document = store(make_document())
    client = make_client()
    page = client.post(
        f"{LIST}{document.pk}/resend/", {"seen": "0", "to": "nowhere", "reason": "moved desk"}, follow=True
    )
    text = page.content.decode()
    assert "“nowhere” is not a mail address" in text
    assert 'value="nowhere"' in text
    assert 'value="moved desk"' in text
    for _ in range(2):
        form = {"seen": "0", "to": "desk@example.com", "reason": "moved desk"}
        again = client.post(f"{LIST}{document.pk}/resend/", form)
    assert again.status_code == 302
    assert document.mails.count() == 2, "the automatic one, and one of the two presses"


def test_the_mail_services_words_are_not_put_into_stripes_mouth():
    mail = store(make_document()).mails.get()
    mail.state, mail.sent_at, mail.bcc = MailState.SENT, NOW, ["crm@example.com"]
    mail.save()
    for recipient in (mail.to[0], "crm@example.com"):
        apply_tracking(
            event_type="delivered", message_id=mail.message_id, recipient=recipient, at=NOW, detail="OK", now=NOW
        )  # fmt: skip
    entries = [(entry.title, entry.detail) for entry in compile_timeline(mail.document.invoice)]
    assert entries[-2:] == [
        ("Mail delivered", f"to {mail.to[0]}: OK"),
        ("Blind copy of mail delivered", "to crm@example.com: OK"),
    ]


def test_the_filtered_list_as_a_file():
    first = store(make_document(make_invoice(number="NWA-0001")))
    account = first.account
    account.name = "=HYPERLINK(1)"
    account.save()
    InvoiceDocument.objects.filter(pk=store(make_document(make_invoice(number="JP-0001"))).pk).update(
        currency="jpy", total_minor=1200, period="2026-09"
    )
    client = make_client("finance")
    answer = client.get(f"{LIST}export.csv/", {"period": "2026-10"})
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))
    assert [(row["number"], row["name"], row["total"], row["mail"]) for row in rows] == [
        ("NWA-0001", "'=HYPERLINK(1)", "524.00", "Queued")
    ]
    answer = client.get(f"{LIST}export.xlsx/")
    sheet = load_workbook(io.BytesIO(b"".join(answer.streaming_content))).active
    cells = {row[0].value: (row[6].value, row[6].number_format, row[5].value) for row in sheet.iter_rows()}
    assert cells["JP-0001"] == (1200, "#,##0", "JPY")
    assert cells["NWA-0001"] == (524, "#,##0.00", "USD")
    assert client.get(f"{LIST}export.pdf/").status_code == 404
    assert AuditEntry.objects.filter(action="invoices.list_exported").count() == 2
    assert Client().get(f"{LIST}export.csv/").status_code == 302


def test_the_page_takes_as_many_statements_for_a_long_story_as_for_a_short_one():
    document = make_void()
    client = make_client()
    url = f"{LIST}{document.pk}/change/"
    client.get(url)
    taken = []
    for round_ in range(2):
        for number in range(3):
            resend_document(
                document_id=document.pk,
                to=["a@example.com"],
                reason="again",
                actor="ada",
                now=NOW + timedelta(minutes=number, hours=round_),
            )
        with CaptureQueriesContext(connection) as captured:
            assert client.get(url).status_code == 200
        taken.append(len(captured))
    assert taken[0] == taken[1] <= 40


def test_alerts_and_the_account_lead_to_the_documents():
    document = store(make_document())
    client = make_client()
    to_list = client.get(f"/admin/accounts/account/{document.account_id}/documents/")
    assert to_list.url == f"{LIST}?account__id__exact={document.account_id}"
    listed = client.get(to_list.url).content.decode()
    assert document.number in listed
    assert "Only documents of" in listed
    InvoiceMail.objects.update(state=MailState.SENT, sent_at=NOW)
    mail = document.mails.get()
    apply_tracking(
        event_type="bounced", message_id=mail.message_id, recipient=mail.to[0], at=NOW, detail="", now=NOW
    )
    index = client.get("/admin/").content.decode()
    assert f'href="/admin/invoices/invoicemail/{mail.pk}/change/"' in index
    assert f'href="{LIST}?needs=lost"' in index


def test_what_is_not_allowed_is_told_on_a_page_with_a_way_back():
    document = store(make_document())
    refused = make_client("engineer").post(
        f"{LIST}{document.pk}/resend/", {"reason": "x", "to": "a@example.com"}
    )
    assert (refused.status_code, "Your role does not allow this" in refused.content.decode()) == (403, True)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_person("otto", "ops"))
    old = strict.post(f"{LIST}{document.pk}/resend/", {"reason": "x", "to": "a@example.com"})
    assert (old.status_code, "This form is too old" in old.content.decode()) == (403, True)
    assert document.mails.count() == 1
