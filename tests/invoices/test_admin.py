"""The console's pages about invoices: who sees what, and what each button does."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing_worker.accounts.models import Account
from billing_worker.mirror.models import StripeInvoice
from invoices.models import InvoiceDocument, InvoiceMail
from invoices.services.documents import render_document
from invoices.services.mails import resend_document
from invoices.states import MailState
from tests.invoices.factories import NOW, make_document, make_invoice, make_stored_document

pytestmark = pytest.mark.django_db


def make_client(*codenames: str, name: str = "ada") -> Client:
    """A member of staff with these permissions of the invoices app."""
    user = User.objects.create_user(name, password="x", is_staff=True)
    permissions = Permission.objects.filter(content_type__app_label="invoices", codename__in=codenames)
    assert len(permissions) == len(codenames)
    user.user_permissions.set(permissions)
    client = Client()
    client.force_login(user)
    return client


def url(name: str, document: InvoiceDocument) -> str:
    return reverse(f"admin:invoices_invoicedocument_{name}", args=[document.pk])


def test_the_list_shows_state_and_mail(admin_client):
    document = make_stored_document(make_invoice(number="NWA-0007"))
    page = admin_client.get(reverse("admin:invoices_invoicedocument_changelist")).content.decode()
    assert "NWA-0007" in page
    assert "524.00 USD" in page
    assert "PDF stored" in page
    assert "Queued" in page
    assert document.account.name in page
    for model in ("invoicemail", "managedcharge"):
        assert admin_client.get(reverse(f"admin:invoices_{model}_changelist")).status_code == 200


def test_a_paid_revision_is_made_and_mailed_on_request():
    invoice = make_invoice(number="NWA-0007")
    document = make_stored_document(invoice)
    client = make_client("view_invoicedocument", "rerender_invoicedocument", "resend_invoicemail")
    assert "PAID revision" not in client.get(url("change", document)).content.decode()
    StripeInvoice.objects.update(
        status="paid", paid_at=NOW, amount_paid_minor=52400, amount_remaining_minor=0
    )
    assert "Make the PAID revision" in client.get(url("change", document)).content.decode()
    response = client.post(
        url("revise", document),
        {"reason": "PAID revision on request", "to": "ap@example.com; boss@example.com"},
        follow=True,
    )
    assert "mailed to ap@example.com, boss@example.com once it is stored" in response.content.decode()
    paid = InvoiceDocument.objects.get(revision=2)
    assert InvoiceMail.objects.count() == 1, "not before it is stored"
    assert render_document(document_id=paid.pk, now=NOW)
    mail = InvoiceMail.objects.get(document=paid)
    assert (mail.to, mail.reason, mail.requested_by) == (
        ["ap@example.com", "boss@example.com"],
        "PAID revision on request",
        "ada",
    )
    assert mail.subject.startswith("Paid invoice NWA-0007")
    assert "Make the PAID revision" not in client.get(url("change", paid)).content.decode()


def test_mailing_a_revision_needs_the_permission_to_mail():
    document = make_stored_document(make_invoice(status="paid", paid_at=NOW, amount_paid_minor=52400))
    client = make_client("view_invoicedocument", "rerender_invoicedocument")
    answer = client.post(url("revise", document), {"reason": "x", "to": "a@example.com"})
    assert answer.status_code == 403
    assert InvoiceDocument.objects.count() == 1


def test_the_delivery_filter_goes_by_the_newest_mail(admin_client):
    bounced = make_stored_document(make_invoice(number="NWA-0001"))
    repaired = make_stored_document(make_invoice(number="NWA-0002"))
    make_document(make_invoice(number="NWA-0003"))
    InvoiceMail.objects.update(state=MailState.BOUNCED)
    resend_document(document_id=repaired.pk, to=["b@example.com"], reason="moved", actor="ops", now=NOW)
    found = {
        state: admin_client.get(reverse("admin:invoices_invoicedocument_changelist"), {"delivery": state})
        .context["cl"]
        .queryset
        for state in ("bounced", "queued", "none", "sent")
    }
    assert {state: [one.number for one in rows] for state, rows in found.items()} == {
        "bounced": [bounced.number],
        "queued": [repaired.number],
        "none": ["NWA-0003"],
        "sent": [],
    }


def test_the_page_of_a_document_has_the_pdf_and_the_timeline(admin_client):
    document = make_stored_document()
    page = admin_client.get(url("change", document)).content.decode()
    assert f'src="{url("pdf", document)}#navpanes=0&amp;view=FitH"' in page
    assert "rendered and stored" in page
    assert "Mail queued" in page


def test_the_page_of_a_mail_names_its_addresses_and_what_was_said_of_each(admin_client):
    mail = make_stored_document().mails.get()
    mail.cc, mail.bcc = ["second@example.com"], ["crm@example.com"]
    mail.recipients = {"a<b>@example.com": {"state": "bounced", "at": "2026-11-01", "detail": "no such box"}}
    mail.save()
    page = admin_client.get(reverse("admin:invoices_invoicemail_change", args=[mail.pk])).content.decode()
    assert "second@example.com" in page
    assert "crm@example.com" in page
    assert "a&lt;b&gt;@example.com: bounced (no such box)" in page


def test_only_those_who_may_see_documents_get_a_link():
    document = make_stored_document(make_invoice(number="NWA-0007"))
    assert make_client("view_invoicedocument").get(url("pdf", document)).status_code == 302
    assert "/login/" in Client().get(url("pdf", document))["Location"]


def test_a_changed_file_is_not_shown(admin_client, own_files):
    document = make_stored_document()
    (own_files / "invoices" / document.storage_name).write_bytes(b"%PDF-1.7 forged")
    response = admin_client.get(url("pdf", document))
    assert response.status_code == 400
    assert b"was changed in storage" in response.content


def test_staff_without_the_permission_see_no_pdf_and_can_do_nothing():
    document = make_stored_document()
    client = make_client()
    assert client.get(url("pdf", document)).status_code == 403
    assert client.post(url("resend", document), {"to": "a@example.com", "reason": "x"}).status_code == 403
    assert client.post(url("revise", document), {"reason": "x"}).status_code == 403
    assert InvoiceMail.objects.count() == 1


def test_viewers_are_not_offered_the_actions():
    document = make_stored_document()
    page = make_client("view_invoicedocument").get(url("change", document)).content.decode()
    assert "Send again" not in page
    assert "Render again" not in page


def test_resending_needs_a_reason_and_queues_a_mail():
    document = make_stored_document()
    client = make_client("view_invoicedocument", "resend_invoicemail")
    client.post(url("resend", document), {"to": "new@example.com", "reason": ""})
    assert InvoiceMail.objects.count() == 1
    response = client.post(
        url("resend", document), {"to": "new@example.com", "reason": "moved desk"}, follow=True
    )
    mail = InvoiceMail.objects.get(sequence=1)
    assert (mail.to, mail.requested_by, mail.state) == (["new@example.com"], "ada", MailState.QUEUED)
    assert "Queued for new@example.com." in response.content.decode()
    looked = client.get(url("resend", document), follow=True)
    assert "Nothing was done" in looked.content.decode()
    assert InvoiceMail.objects.count() == 2


def test_a_revision_that_would_change_nothing_is_refused_on_the_page():
    document = make_stored_document()
    client = make_client("view_invoicedocument", "rerender_invoicedocument")
    response = client.post(url("revise", document), {"reason": "again"}, follow=True)
    assert "already says exactly this" in response.content.decode()
    document.invoice.status = "void"
    document.invoice.save()
    client.post(url("revise", document), {"reason": "voided"})
    assert InvoiceDocument.objects.get(revision=2).requested_by == "ada"


def test_a_person_settles_a_mail_in_doubt():
    document = make_stored_document()
    InvoiceMail.objects.update(state=MailState.UNKNOWN)
    client = make_client("view_invoicedocument", "resend_invoicemail")
    assert "Did this mail go out?" in client.get(url("change", document)).content.decode()
    settle = reverse("admin:invoices_invoicemail_settle", args=[document.mails.get().pk])
    client.post(settle, {"verdict": "sent", "reason": "seen in the CRM"})
    assert document.mails.get().state == MailState.SENT


def test_a_document_that_does_not_exist_is_no_error(admin_client):
    missing = reverse("admin:invoices_invoicedocument_change", args=[999])
    assert admin_client.get(missing).status_code == 302
    assert admin_client.get(reverse("admin:invoices_invoicedocument_pdf", args=[999])).status_code == 404


def test_search_ignores_upper_and_lower_case_and_takes_a_whole_account_id(admin_client):
    document = make_stored_document(make_invoice(number="NWA-0007"))
    Account.objects.filter(pk=document.account_id).update(name="Café Nord")
    page = reverse("admin:invoices_invoicedocument_changelist")
    for wanted in ("nwa-0007", "nord CAF", str(document.account_id)):
        assert "NWA-0007" in admin_client.get(page, {"q": wanted}).content.decode(), wanted
    for other in ("nwa-0008", str(document.account_id)[:-1], "nobody"):
        assert "NWA-0007" not in admin_client.get(page, {"q": other}).content.decode(), other


@pytest.mark.parametrize(
    ("base", "link"),
    [("https://api.stripe.com", "https://dashboard.stripe.com/test/invoices/"), ("http://127.0.0.1:1", None)],
)
def test_the_page_leads_to_stripe_unless_the_sandbox_is_stripe(admin_client, settings, base, link):
    settings.ENV = settings.ENV.model_copy(update={"STRIPE_API_BASE": base, "STRIPE_SECRET_KEY": None})
    document = make_stored_document()
    page = admin_client.get(url("change", document)).content.decode()
    assert (f"{link}{document.invoice.stripe_invoice_id}" in page) == (link is not None)
    assert ("Open in Stripe" in page) == (link is not None)


def test_the_list_takes_as_many_statements_for_many_documents_as_for_few(client, django_user_model) -> None:
    client.force_login(django_user_model.objects.create_superuser("counter"))
    url = "/admin/invoices/invoicedocument/"
    client.get(url)
    taken = []
    for _ in range(2):
        for _ in range(3):
            make_document()
        with CaptureQueriesContext(connection) as captured:
            assert client.get(url).status_code == 200
        taken.append(len(captured))
    assert taken[0] == taken[1] <= 20
