"""What was left behind is found."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from invoices.models import InvoiceDocument, InvoiceMail
from invoices.services import sweeping
from invoices.services.documents import render_document
from invoices.services.mails import deliver_mail
from invoices.services.sweeping import sweep_invoices
from invoices.states import DocumentState, MailState
from tests.invoices.factories import NOW, make_document, make_invoice, make_stored_document

pytestmark = pytest.mark.django_db


@pytest.fixture
def kicked(monkeypatch) -> list[tuple[str, int]]:
    """The tasks that a sweep sends off."""
    sent: list[tuple[str, int]] = []

    def note(task: str, row: int) -> bool:
        sent.append((task, row))
        return True

    monkeypatch.setattr(sweeping, "send_kick", note)
    return sent


def test_a_finalized_invoice_without_a_document_gets_one(kicked):
    make_invoice()
    make_invoice(status="draft", number="")
    make_invoice(account=None)
    assert sweep_invoices(now=NOW).documents_created == 1
    document = InvoiceDocument.objects.get()
    assert kicked == [("invoices.render_document", document.pk)]
    assert sweep_invoices(now=NOW).documents_created == 0


@pytest.mark.database
def test_the_sweeper_and_an_event_take_turns_at_an_invoice(kicked, monkeypatch):
    """Else each finds no document, and prints the invoice as it saw it."""
    make_invoice()
    locked: list[bool] = []
    ensure = sweeping.ensure_document

    def look(**arguments):
        statement = captured.captured_queries[-1]["sql"]
        is_mariadb = connection.vendor == "mysql"
        locked.append(connection.in_atomic_block and ("FOR UPDATE" in statement or not is_mariadb))
        return ensure(**arguments)

    monkeypatch.setattr(sweeping, "ensure_document", look)
    with CaptureQueriesContext(connection) as captured:
        assert sweep_invoices(now=NOW).documents_created == 1
    assert locked == [True]


def test_an_invoice_whose_lines_came_late_is_found_when_they_are_there(kicked):
    invoice = make_invoice(lines_complete=False)
    assert sweep_invoices(now=NOW).documents_created == 0
    invoice.lines_complete = True
    invoice.save()
    assert sweep_invoices(now=NOW).documents_created == 1


def test_rows_whose_worker_died_go_on_where_it_stopped(kicked, read_mails):
    document = make_document()
    InvoiceDocument.objects.update(state=DocumentState.RENDERING, claimed_at=NOW, attempts=1)
    later = NOW + timedelta(minutes=11)
    assert sweep_invoices(now=later).renders_released == 1
    assert render_document(document_id=document.pk, now=later)
    mail = InvoiceMail.objects.get()
    InvoiceMail.objects.update(state=MailState.SENDING, claimed_at=later, claim_token="dead")
    much_later = later + timedelta(minutes=11)
    report = sweep_invoices(now=much_later)
    assert (report.mails_resolved, report.mails_kicked) == (1, 1)
    assert kicked[-1] == ("invoices.deliver_mail", mail.pk)
    assert deliver_mail(mail_id=mail.pk, now=much_later)
    assert len(read_mails()) == 1


def test_a_stored_document_without_a_mail_gets_its_mail(kicked):
    document = make_stored_document()
    document.mails.all().delete()
    assert sweep_invoices(now=NOW).mails_queued == 1
    assert document.mails.get().state == MailState.QUEUED


def test_a_second_sweep_at_once_changes_nothing(kicked):
    make_stored_document()
    sweep_invoices(now=NOW)
    report = sweep_invoices(now=NOW)
    assert (report.documents_created, report.renders_released, report.mails_queued) == (0, 0, 0)
    assert (InvoiceDocument.objects.count(), InvoiceMail.objects.count()) == (1, 1)
