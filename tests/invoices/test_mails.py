"""One mail for each document: to whom, with what, and never twice on a guess."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import requests
from anymail.exceptions import AnymailRequestsAPIError

from billing_worker.accounts.models import AuditEntry
from billing_worker.alerts.models import Alert
from billing_worker.core.errors import InvalidInput
from invoices import delivery
from invoices.delivery import Outcome, SendResult, find_refused_addresses
from invoices.mail_backends import EmlFileBackend
from invoices.models import InvoiceMail
from invoices.services import mails
from invoices.services.mails import (
    MailNotOpen,
    deliver_mail,
    resend_document,
    resolve_stale_mails,
    settle_mail,
    split_addresses,
)
from invoices.states import MailState
from tests.factories import CustomerAccountFactory
from tests.invoices.factories import NOW, make_invoice, make_stored_document

pytestmark = pytest.mark.django_db


@pytest.fixture
def mail() -> InvoiceMail:
    """A queued mail with its PDF in storage."""
    account = CustomerAccountFactory.create(
        name="Northwind & Söhne", billing_email="ap@northwind.example.com", billing_cc="cfo@example.com, "
    )
    return make_stored_document(make_invoice(account=account, number="NWA-0007")).mails.get()


def test_the_mail_carries_the_pdf_to_the_billing_contacts_and_the_crm(mail, read_mails, own_files: Path):
    assert deliver_mail(mail_id=mail.pk, now=NOW)
    (message,) = read_mails()
    assert message["To"] == "ap@northwind.example.com"
    assert message["Cc"] == "cfo@example.com"
    assert message["Bcc"] == "crm@example.com"
    assert message["From"] == '"Lumenade Media, Inc." <billing-noreply@example.com>'
    assert message["Subject"] == "Invoice NWA-0007 from Lumenade Media, Inc.: $524.00"
    assert message["Message-ID"] == f"<{mail.document.uuid}.0@example.com>"
    (attachment,) = message.iter_attachments()
    assert (attachment.get_filename(), attachment.get_content_type()) == ("NWA-0007.pdf", "application/pdf")
    stored = own_files / "invoices" / mail.document.storage_name
    assert attachment.get_content() == stored.read_bytes()
    text = message.get_body(("plain",)).get_content()
    html = message.get_body(("html",)).get_content()
    assert "Hello Northwind & Söhne," in text
    assert "Northwind &amp; Söhne" in html
    assert "https://invoice.example.com/i/1" in text
    mail.refresh_from_db()
    assert (mail.state, mail.sent_at, mail.attempts) == (MailState.SENT, NOW, 1)


def test_a_mail_is_sent_once_however_often_it_is_kicked(mail, read_mails):
    assert [deliver_mail(mail_id=mail.pk, now=NOW) for _ in range(3)] == [True, False, False]
    assert len(read_mails()) == 1


def test_an_account_without_an_address_is_a_failed_mail_and_an_alert():
    invoice = make_invoice(account=CustomerAccountFactory.create(billing_email=""))
    mail = make_stored_document(invoice).mails.get()
    assert mail.state == MailState.FAILED
    assert "no billing address" in Alert.objects.get(name="mail_failed").detail


def test_a_definite_refusal_is_tried_again_later_and_then_sent(mail, monkeypatch, read_mails):
    with monkeypatch.context() as patch:
        patch.setattr(mails, "send_message", lambda message: SendResult(Outcome.NOT_SENT, "busy"))
        assert not deliver_mail(mail_id=mail.pk, now=NOW)
    mail.refresh_from_db()
    assert (mail.state, mail.next_attempt_at) == (MailState.QUEUED, NOW + timedelta(minutes=2))
    assert not deliver_mail(mail_id=mail.pk, now=NOW + timedelta(minutes=1))
    assert deliver_mail(mail_id=mail.pk, now=NOW + timedelta(minutes=2))
    assert len(read_mails()) == 1


def test_an_open_outcome_is_never_sent_again_without_a_person(mail, monkeypatch, read_mails):
    with monkeypatch.context() as patch:
        patch.setattr(mails, "send_message", lambda message: SendResult(Outcome.UNKNOWN, "timed out"))
        assert not deliver_mail(mail_id=mail.pk, now=NOW)
    assert not deliver_mail(mail_id=mail.pk, now=NOW + timedelta(days=1))
    mail.refresh_from_db()
    assert mail.state == MailState.UNKNOWN
    assert Alert.objects.filter(name="mail_failed", status="open").count() == 1
    with pytest.raises(InvalidInput):
        settle_mail(mail_id=mail.pk, was_sent=False, reason=" ", actor="ops", now=NOW)
    settle_mail(mail_id=mail.pk, was_sent=False, reason="not in Mailgun's log", actor="ops", now=NOW)
    assert not Alert.objects.filter(name="mail_failed", status="open").exists()
    assert deliver_mail(mail_id=mail.pk, now=NOW)
    assert len(read_mails()) == 1
    assert AuditEntry.objects.get(action="invoices.mail_settled").reason == "not in Mailgun's log"
    with pytest.raises(MailNotOpen):
        settle_mail(mail_id=mail.pk, was_sent=True, reason="sure", actor="ops", now=NOW)


def test_files_prove_what_a_dead_worker_did(mail, read_mails):
    other = make_stored_document().mails.get()
    for each, writes in ((mail, True), (other, False)):
        InvoiceMail.objects.filter(pk=each.pk).update(
            state=MailState.SENDING, claim_token="dead", claimed_at=NOW, attempts=1
        )
        if writes:
            EmlFileBackend().send_messages([_build(each)])
    assert resolve_stale_mails(now=NOW + timedelta(minutes=9)) == 0
    later = NOW + timedelta(minutes=11)
    assert resolve_stale_mails(now=later) == 2
    mail.refresh_from_db()
    other.refresh_from_db()
    assert (mail.state, other.state) == (MailState.SENT, MailState.QUEUED)
    assert deliver_mail(mail_id=other.pk, now=later)
    assert len(read_mails()) == 2


def test_a_mail_service_cannot_prove_it_so_a_person_decides(mail, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    InvoiceMail.objects.update(state=MailState.SENDING, claim_token="dead", claimed_at=NOW)
    assert resolve_stale_mails(now=NOW + timedelta(minutes=11)) == 1
    mail.refresh_from_db()
    assert mail.state == MailState.UNKNOWN
    assert "worker died while sending" in Alert.objects.get(name="mail_failed").detail


def test_a_worker_that_was_taken_for_dead_before_it_began_sends_nothing(mail, read_mails, monkeypatch):
    claim = mails._claim_mail

    def pause_after_claiming(mail_id, token, now):
        assert claim(mail_id, token, now)
        return bool(InvoiceMail.objects.filter(pk=mail_id).update(claim_token="who took over"))

    monkeypatch.setattr(mails, "_claim_mail", pause_after_claiming)
    assert not deliver_mail(mail_id=mail.pk, now=NOW)
    assert read_mails() == []
    mail.refresh_from_db()
    assert (mail.state, mail.claim_token) == (MailState.SENDING, "who took over")


def test_a_slow_worker_that_was_taken_for_dead_ends_the_doubt(mail, settings, monkeypatch):
    """It sent the mail in the end, and nobody else can know: its answer is not thrown away."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"

    def send_slowly(message):
        resolve_stale_mails(now=NOW + timedelta(minutes=11))
        assert InvoiceMail.objects.get().state == MailState.UNKNOWN
        return SendResult(Outcome.SENT, service_message_id="<1@example.com>")

    monkeypatch.setattr("invoices.services.mails.send_message", send_slowly)
    assert deliver_mail(mail_id=mail.pk, now=NOW)
    mail.refresh_from_db()
    assert (mail.state, mail.service_message_id) == (MailState.SENT, "<1@example.com>")
    assert not Alert.objects.filter(name="mail_failed", status="open").exists()


def test_a_resend_has_a_reason_an_author_and_its_own_addresses(mail, read_mails):
    with pytest.raises(InvalidInput):
        resend_document(document_id=mail.document_id, to=["x@example.com"], reason="", actor="ops", now=NOW)
    deliver_mail(mail_id=mail.pk, now=NOW)
    again = resend_document(
        document_id=mail.document_id, to=["new@example.com"], reason="moved desk", actor="ops", now=NOW
    )
    assert deliver_mail(mail_id=again.pk, now=NOW)
    assert [message["To"] for message in read_mails()] == ["ap@northwind.example.com", "new@example.com"]
    assert AuditEntry.objects.get(action="invoices.resent").after["to"] == ["new@example.com"]


def test_a_changed_pdf_is_not_sent(mail, own_files: Path, read_mails):
    (own_files / "invoices" / mail.document.storage_name).write_bytes(b"%PDF-1.7 forged")
    assert not deliver_mail(mail_id=mail.pk, now=NOW)
    mail.refresh_from_db()
    assert "was changed in storage" in mail.last_error
    assert read_mails() == []


def test_outside_production_mailgun_reaches_only_the_allow_list(settings):
    settings.ENV = settings.ENV.model_copy(
        update={"MAILGUN_API_KEY": "key", "MAIL_ALLOWLIST": ["example.com"], "BILLING_BCC_ADDRESS": None}
    )
    assert find_refused_addresses(["a@example.com", "b@sub.example.com"]) == []
    assert find_refused_addresses(["a@notexample.com", "b@example.com.evil.test"]) == [
        "a@notexample.com",
        "b@example.com.evil.test",
    ]
    invoice = make_invoice(account=CustomerAccountFactory.create(billing_email="real@customer.test"))
    refused = make_stored_document(invoice).mails.get()
    assert refused.state == MailState.REFUSED
    assert not deliver_mail(mail_id=refused.pk, now=NOW)


def _answer(status: int) -> AnymailRequestsAPIError:
    response = requests.Response()
    response.status_code = status
    return AnymailRequestsAPIError("no", response=response)


def _network(cause: Exception) -> AnymailRequestsAPIError:
    error = AnymailRequestsAPIError("no")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (_answer(400), Outcome.REJECTED),
        (_answer(401), Outcome.NOT_SENT),
        (_answer(429), Outcome.NOT_SENT),
        (_answer(500), Outcome.UNKNOWN),
        (_network(requests.ReadTimeout()), Outcome.UNKNOWN),
        (_network(requests.ConnectTimeout()), Outcome.NOT_SENT),
        (_network(requests.ConnectionError("reset")), Outcome.UNKNOWN),
        (OSError("disk full"), Outcome.NOT_SENT),
    ],
)
def test_what_an_answer_of_the_mail_service_means(mail, monkeypatch, error, outcome):
    def refuse(self, messages):
        raise error

    monkeypatch.setattr(EmlFileBackend, "send_messages", refuse)
    assert delivery.send_message(_build(mail)).outcome is outcome


def test_addresses_are_split_once_each():
    assert split_addresses(" a@example.com; b@example.com,a@example.com ,") == [
        "a@example.com",
        "b@example.com",
    ]


def _build(mail: InvoiceMail):
    from invoices.content import load_content
    from invoices.messages import build_message

    return build_message(mail, load_content(mail.document.content), b"%PDF-1.7")
