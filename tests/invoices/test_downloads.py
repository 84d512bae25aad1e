"""Links to stored PDFs: made for those who may see them, good for a while, and for nobody who made them up."""

from __future__ import annotations

import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.core import signing
from django.test import Client
from django.urls import reverse

from billing_worker.accounts.models import AuditEntry
from billing_worker.env import load_environment
from billing_worker.settings.delivery import build_storages
from invoices.downloads import SALT, make_download_url
from invoices.models import InvoiceDocument
from invoices.storage import StorageMismatch, get_storage, store_pdf
from tests.invoices.factories import make_document, make_invoice, make_stored_document
from tests.support.s3 import S3Server

pytestmark = pytest.mark.django_db


def pdf_url(document: InvoiceDocument, suffix: str = "") -> str:
    return reverse("admin:invoices_invoicedocument_pdf", args=[document.pk]) + suffix


def fetch(url: str) -> tuple[int, Message, bytes]:
    """A plain GET, as a browser without any of our cookies does it."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def take(client: Client, url: str) -> tuple[Any, bytes]:
    """A GET whose file is read to its end the response and the bytes."""
    response: Any = client.get(url)
    body = b"".join(response)
    return response, body


class TestFiles:
    def test_the_console_leads_to_a_link_that_needs_no_cookie(self, admin_client):
        document = make_stored_document(make_invoice(number="NWA-0007"))
        shown = admin_client.get(pdf_url(document))
        assert shown.status_code == 302
        assert "no-store" in shown["Cache-Control"]
        response, body = take(Client(), shown["Location"])
        assert response["Content-Type"] == "application/pdf"
        assert response["Content-Disposition"] == 'inline; filename="NWA-0007.pdf"'
        assert response["Cache-Control"] == "private, no-store"
        assert (body[:5], len(body)) == (b"%PDF-", document.pdf_bytes)
        kept, _ = take(Client(), admin_client.get(pdf_url(document, "?download"))["Location"])
        assert kept["Content-Disposition"] == 'attachment; filename="NWA-0007.pdf"'

    def test_a_link_expires_with_a_word(self, settings, client):
        settings.ENV = settings.ENV.model_copy(update={"DOWNLOAD_URL_SECONDS": 90})
        url = make_download_url(document=make_stored_document(), is_inline=True)
        assert take(client, url)[0].status_code == 200
        with time_machine.travel(datetime.now(UTC) + timedelta(seconds=91)):
            late = client.get(url)
        assert late.status_code == 403
        assert late.content == b"This link has expired. Open the document in the console again."

    def test_a_forged_link_leads_nowhere(self, client):
        document, other = make_stored_document(), make_stored_document()
        token = signing.dumps([document.uuid.hex, True], salt=SALT)
        body, _, signature = token.partition(":")
        swapped = signing.dumps([other.uuid.hex, True], salt=SALT).partition(":")[0]
        for forged in (
            f"{swapped}:{signature}",
            f"{body}x:{signature}",
            signing.dumps([document.uuid.hex, True], salt="another"),
            signing.dumps([uuid4().hex, True], salt=SALT),
            "x",
        ):
            assert client.get(reverse("invoice-file", args=[forged, "x.pdf"])).status_code == 404
        assert client.post(reverse("invoice-file", args=[token, "x.pdf"])).status_code == 405

    def test_a_link_to_a_lost_file_says_so(self, client):
        document = make_stored_document()
        url = make_download_url(document=document, is_inline=True)
        get_storage().delete(document.storage_name)
        response = client.get(url)
        assert (response.status_code, b"not in storage any more" in response.content) == (400, True)

    def test_names_that_would_break_the_header_are_cleaned(self, client):
        document = make_stored_document(make_invoice(number='A"; filename="evil.exe\r\nX: 1'))
        response, _ = take(client, make_download_url(document=document, is_inline=False))
        header = response["Content-Disposition"]
        assert header == 'attachment; filename="A-filename-evil.exe-X-1.pdf"'

    def test_copies_are_audited_and_looks_are_not(self, admin_client):
        document = make_stored_document()
        admin_client.get(pdf_url(document))
        assert not AuditEntry.objects.filter(action="invoices.downloaded").exists()
        admin_client.get(pdf_url(document, "?download"))
        entry = AuditEntry.objects.get(action="invoices.downloaded")
        assert (entry.actor, entry.subject_id, entry.after["number"]) == (
            "admin",
            str(document.pk),
            document.number,
        )

    def test_a_document_without_a_file_has_no_link(self, admin_client):
        response = admin_client.get(pdf_url(make_document()))
        assert (response.status_code, response.content) == (404, b"There is no PDF: Waiting to be rendered.")


@pytest.fixture
def bucket(s3_server: S3Server, settings) -> str:
    name = f"invoices-{uuid4().hex[:12]}"
    s3_server.create_bucket(name)
    env = load_environment(
        {
            "STRIPE_WEBHOOK_SECRET": "whsec_x",
            "DOWNLOAD_URL_SECONDS": "90",
            **s3_server.environment(name),
        }
    )
    settings.ENV = settings.ENV.model_copy(update={"DOWNLOAD_URL_SECONDS": env.DOWNLOAD_URL_SECONDS})
    settings.STORAGES = {**settings.STORAGES, "invoices": build_storages(env)["invoices"]}
    return name


class TestS3:
    def test_the_console_leads_to_the_store_itself_for_a_while(self, bucket, s3_server, admin_client):
        document = make_stored_document(make_invoice(number="NWA-0007"))
        url = admin_client.get(pdf_url(document, "?download"))["Location"]
        assert url.startswith(f"{s3_server.url}/{bucket}/{document.storage_name}?")
        status, headers, body = fetch(url)
        assert (status, len(body)) == (200, document.pdf_bytes)
        assert headers["Content-Disposition"] == 'attachment; filename="NWA-0007.pdf"'
        assert headers["Content-Type"] == "application/pdf"
        assert headers["Cache-Control"] == "private, no-store"
        with time_machine.travel(datetime.now(UTC) - timedelta(seconds=91)):
            signed_earlier = admin_client.get(pdf_url(document, "?download"))["Location"]
        status, _, body = fetch(signed_earlier)
        assert (status, b"Request has expired" in body) == (403, True)

    def test_a_changed_link_is_refused_and_the_preview_is_inline(self, bucket, admin_client):
        document, other = make_stored_document(), make_stored_document()
        url = admin_client.get(pdf_url(document))["Location"]
        assert fetch(url)[1]["Content-Disposition"].startswith("inline; ")
        status, _, body = fetch(url.replace(document.storage_name, other.storage_name))
        assert (status, b"SignatureDoesNotMatch" in body) == (403, True)

    def test_a_changed_file_gets_no_link(self, bucket, admin_client):
        document = make_stored_document()
        storage: Any = get_storage()
        storage.connection.Object(bucket, document.storage_name).put(Body=b"%PDF-1.7 forged")
        response = admin_client.get(pdf_url(document))
        assert (response.status_code, b"was changed in storage" in response.content) == (400, True)


def test_a_worker_that_was_thought_dead_does_not_touch_a_settled_file():
    document = make_stored_document()
    with pytest.raises(StorageMismatch, match="theirs counts"):
        store_pdf(name=document.storage_name, body=b"%PDF-1.7 other", may_replace=lambda: False)
    with get_storage().open(document.storage_name) as file:
        assert len(file.read()) == document.pdf_bytes
