"""Mailgun's signed tracking webhooks, as it sends them."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from pydantic import SecretStr

from billing_worker.alerts.models import Alert
from invoices.models import InvoiceEvent, InvoiceMail
from invoices.selectors import count_undelivered
from invoices.services.mails import list_other_contacts, resend_document
from invoices.services.tracking import alert_silent_mails, settle_unknown_mails
from invoices.states import MailState
from tests.factories import CustomerAccountFactory
from tests.invoices.factories import NOW, make_invoice, make_stored_document

pytestmark = pytest.mark.django_db
KEY = "signing-key"


@pytest.fixture(autouse=True)
def mailgun(settings, own_files):
    settings.ENV = settings.ENV.model_copy(
        update={"MAILGUN_API_KEY": SecretStr("key"), "MAILGUN_WEBHOOK_SIGNING_KEY": SecretStr(KEY)}
    )
    settings.ANYMAIL = {"MAILGUN_API_KEY": "key", "MAILGUN_WEBHOOK_SIGNING_KEY": KEY}


@pytest.fixture
def mail() -> InvoiceMail:
    """A mail to two addresses that Mailgun has taken."""
    account = CustomerAccountFactory.create(billing_email="ap@example.com", billing_cc="cfo@example.com")
    mail = make_stored_document(make_invoice(account=account)).mails.get()
    InvoiceMail.objects.update(state=MailState.SENT, sent_at=NOW, claimed_at=NOW)
    return mail


def report(
    mail: InvoiceMail, event: str, recipient: str = "ap@example.com", *, at: int = 0, **more: Any
) -> int:
    """Post one event; the status of the answer."""
    timestamp = NOW.timestamp() + at
    payload = {
        "signature": _sign(more.pop("key", KEY)),
        "event-data": {
            "event": event,
            "id": f"{event}-{recipient}-{at}",
            "timestamp": timestamp,
            "recipient": recipient,
            "message": {"headers": {"message-id": mail.message_id}},
            "user-variables": {},
            "delivery-status": more.pop("status", {}),
            **more,
        },
    }
    response = Client(raise_request_exception=False).post(
        "/invoices/mailgun/tracking", json.dumps(payload), content_type="application/json"
    )
    mail.refresh_from_db()
    return response.status_code


def _sign(key: str) -> dict[str, str]:
    signature = hmac.new(key.encode(), b"1793793600token", hashlib.sha256).hexdigest()
    return {"timestamp": "1793793600", "token": "token", "signature": signature}


def test_a_mail_is_delivered_when_every_recipient_has_it(mail):
    assert report(mail, "delivered") == 200
    assert mail.state == MailState.SENT
    report(mail, "delivered", "cfo@example.com")
    assert mail.state == MailState.DELIVERED
    assert mail.settled_at is not None
    names = list(InvoiceEvent.objects.values_list("name", flat=True))
    assert names == ["mail_delivered", "mail_delivered"]


def test_a_temporary_failure_is_not_a_bounce(mail):
    report(mail, "failed", severity="temporary", status={"message": "mailbox busy"})
    assert mail.state == MailState.DEFERRED
    assert not Alert.objects.exists()
    report(mail, "delivered", at=60)
    report(mail, "delivered", "cfo@example.com", at=61)
    assert mail.state == MailState.DELIVERED


def test_a_bounce_alerts_with_the_other_contacts(mail):
    report(
        mail,
        "failed",
        severity="permanent",
        reason="bounce",
        status={"message": "no such user"},
    )
    assert mail.state == MailState.BOUNCED
    alert = Alert.objects.get(name="mail_failed")
    assert "no such user" in alert.detail
    assert "Other contacts" in alert.detail
    assert alert.detail.endswith("cfo@example.com")


def test_events_that_come_late_or_twice_change_nothing(mail):
    report(mail, "delivered", at=60)
    report(mail, "delivered", "cfo@example.com", at=60)
    report(mail, "failed", severity="temporary", at=30)
    report(mail, "failed", severity="temporary", at=90)
    report(mail, "delivered", at=60)
    assert mail.state == MailState.DELIVERED
    assert InvoiceEvent.objects.count() == 4


def test_a_complaint_after_delivery_counts(mail):
    report(mail, "delivered")
    report(mail, "delivered", "cfo@example.com")
    report(mail, "complained", at=3600)
    assert mail.state == MailState.COMPLAINED


def test_the_word_of_the_service_settles_a_mail_in_doubt(mail):
    InvoiceMail.objects.update(state=MailState.UNKNOWN, sent_at=None)
    report(mail, "delivered")
    report(mail, "delivered", "cfo@example.com")
    assert mail.state == MailState.DELIVERED
    assert mail.sent_at == NOW


def test_the_blind_copy_does_not_count(mail):
    report(mail, "failed", "crm@example.com", severity="permanent")
    assert mail.state == MailState.SENT


def test_a_wrong_signature_is_refused_and_leaves_nothing(mail):
    assert report(mail, "delivered", key="other") == 400
    assert mail.recipients == {}


def test_unknown_mails_and_other_events_are_taken_quietly(mail):
    assert report(mail, "opened") == 200
    mail.message_id = "someone-else@example.com"
    other = InvoiceMail(pk=mail.pk, message_id="someone-else@example.com")
    assert report(other, "delivered") == 200
    assert InvoiceEvent.objects.count() == 0


def test_without_a_mail_service_there_is_no_such_address(mail, settings):
    settings.ENV = settings.ENV.model_copy(update={"MAILGUN_API_KEY": None})
    assert report(mail, "delivered") == 404


def test_a_day_of_silence_alerts(mail):
    assert alert_silent_mails(now=NOW + timedelta(hours=23)) == 0
    assert alert_silent_mails(now=NOW + timedelta(hours=24)) == 1
    assert Alert.objects.get(name="mail_silent").subject == mail.document.number


def bounce(mail: InvoiceMail) -> None:
    report(mail, "failed", severity="permanent", reason="bounce", status={"message": "no such user"})


def test_a_bounced_invoice_is_undelivered_until_it_was_sent_again_and_arrived(mail):
    account_ids = [mail.document.account_id]
    assert count_undelivered(account_ids=account_ids) == 0
    bounce(mail)
    assert count_undelivered(account_ids=account_ids) == 1
    again = resend_document(
        document_id=mail.document_id, to=["cfo@example.com"], reason="bounced", actor="ada", now=NOW
    )
    assert count_undelivered(account_ids=account_ids) == 1
    InvoiceMail.objects.filter(pk=again.pk).update(state=MailState.SENT, sent_at=NOW, claimed_at=NOW)
    assert count_undelivered(account_ids=account_ids) == 0
    report(again, "delivered", "cfo@example.com", at=60)
    assert Alert.objects.get(name="mail_failed").status == "resolved"


def test_the_page_of_a_bounced_document_offers_the_other_contacts(mail, admin_client):
    page = f"/admin/invoices/invoicedocument/{mail.document_id}/change/"
    assert b"did not arrive" not in admin_client.get(page).content
    bounce(mail)
    assert list_other_contacts(mail) == ["cfo@example.com"]
    shown = admin_client.get(page).content.decode()
    assert "Send again to cfo@example.com" in shown
    assert "Send again to ap@example.com" not in shown


def doubt(settings, policy: str) -> None:
    settings.ENV = settings.ENV.model_copy(update={"UNKNOWN_MAIL_POLICY": policy})
    InvoiceMail.objects.update(state=MailState.UNKNOWN, sent_at=None, claimed_at=NOW)


@pytest.mark.parametrize(
    ("policy", "settled", "state"),
    [("ask", 0, MailState.UNKNOWN), ("assume_sent", 1, MailState.SENT), ("resend", 1, MailState.QUEUED)],
)
def test_a_mail_in_doubt_waits_and_then_follows_the_setting(mail, settings, policy, settled, state):
    doubt(settings, policy)
    assert settle_unknown_mails(now=NOW + timedelta(hours=23)) == 0
    assert settle_unknown_mails(now=NOW + timedelta(hours=24)) == settled
    mail.refresh_from_db()
    assert mail.state == state


def test_the_setting_never_resends_what_the_service_spoke_of_or_without_its_word(mail, settings):
    doubt(settings, "resend")
    report(mail, "delivered")
    assert mail.state == MailState.UNKNOWN
    assert settle_unknown_mails(now=NOW + timedelta(hours=48)) == 0
    InvoiceMail.objects.update(recipients={})
    settings.ENV = settings.ENV.model_copy(update={"MAILGUN_WEBHOOK_SIGNING_KEY": None})
    assert settle_unknown_mails(now=NOW + timedelta(hours=48)) == 0
