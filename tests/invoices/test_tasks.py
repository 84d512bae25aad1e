"""One task brings every document that waits to its customer, and few tasks are sent for many documents."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from invoices import tasks
from invoices.models import InvoiceDocument, InvoiceMail
from invoices.services import mails, waking
from tests.invoices.factories import make_document, make_stored_document

pytestmark = pytest.mark.django_db


@pytest.fixture
def kicks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is sent to the broker."""
    sent: list[tuple[Any, ...]] = []

    def send(*what: Any) -> bool:
        sent.append(what)
        return True

    for module in (tasks, waking):
        monkeypatch.setattr(module, "send_kick", send)
    return sent


def count_states() -> dict[str, int]:
    return {
        "stored": InvoiceDocument.objects.filter(state="stored").count(),
        "sent": InvoiceMail.objects.filter(state="sent").count(),
    }


def test_a_task_goes_on_with_whatever_waits(kicks) -> None:
    first, *_ = [make_document() for _ in range(3)]
    tasks.render_document(first.pk)
    assert count_states() == {"stored": 3, "sent": 3}
    assert kicks == []


def test_a_task_hands_over_when_its_time_is_up(kicks, monkeypatch) -> None:
    first, second = make_document(), make_document()
    monkeypatch.setattr(tasks, "_SECONDS_PER_TASK", -1.0)
    tasks.render_document(first.pk)
    assert count_states() == {"stored": 1, "sent": 1}
    assert kicks == [("invoices.render_document", second.pk)]


def test_a_repeated_task_sends_the_mail_that_its_dead_predecessor_left() -> None:
    document = make_stored_document()
    tasks.render_document(document.pk)
    assert count_states() == {"stored": 1, "sent": 1}


def test_a_document_that_another_worker_took_is_not_tried_again(kicks, monkeypatch) -> None:
    """What was listed is out of date once somebody else has come as far: the list is read again."""
    for _ in range(3):
        make_document()
    tried: list[int] = []

    def take_all(*, document_id: int, now: Any) -> bool:
        tried.append(document_id)
        InvoiceDocument.objects.update(state="rendering")
        return False

    monkeypatch.setattr("invoices.tasks.documents.render_document", take_all)
    tasks.render_document(0)
    InvoiceDocument.objects.update(state="pending")
    tasks.render_document(0)
    assert len(tried) == 2


def test_few_documents_wake_a_worker_each_and_many_do_not(
    kicks, monkeypatch, django_capture_on_commit_callbacks
) -> None:
    monkeypatch.setattr(waking, "KICKS_FOR_EACH", 2)
    monkeypatch.setattr(waking, "DOCUMENTS_PER_KICK", 10**9)
    made = []
    for _ in range(4):
        with django_capture_on_commit_callbacks(execute=True):
            made.append(make_document())
    assert kicks == [("invoices.render_document", document.pk) for document in made[:2]]
    monkeypatch.setattr(waking, "DOCUMENTS_PER_KICK", 1)
    with django_capture_on_commit_callbacks(execute=True):
        waking.wake_for_document(made[3].pk, now=timezone.now())
    assert kicks[2:] == [("invoices.render_document", made[3].pk)]


def test_a_persons_mail_is_kicked(monkeypatch, django_capture_on_commit_callbacks) -> None:
    document = make_stored_document()
    sent: list[tuple[Any, ...]] = []
    monkeypatch.setattr(mails, "kick", lambda *what: sent.append(what))
    mail = mails.resend_document(
        document_id=document.pk, to=["ap@example.com"], reason="lost", actor="anna", now=timezone.now()
    )
    assert sent == [("invoices.deliver_mail", mail.pk)]
