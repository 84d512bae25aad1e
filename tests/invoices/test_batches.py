"""The same thing for many documents: each once, with progress, whatever happens to workers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from billing_worker.accounts.models import AuditEntry
from billing_worker.core.errors import InvalidInput
from invoices import tasks
from invoices.batches import services
from invoices.batches.models import BatchAction, BatchItem, DocumentBatch, ItemState
from invoices.models import InvoiceDocument, InvoiceMail
from invoices.services import sweeping
from tests.cohorts.factories import make_person
from tests.invoices.factories import NOW, make_document
from tests.invoices.test_attention import LIST, make_void, store

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def start(*documents: InvoiceDocument, action: BatchAction = BatchAction.RESEND) -> DocumentBatch:
    return services.start_batch(
        action=action, document_ids=[one.pk for one in documents], reason="lost in October", actor="ada", now=NOW
    )  # fmt: skip


def test_from_the_list_to_the_last_document_and_a_refusal_beside_it():
    fine, void = store(make_document()), make_void()
    superseded = void.invoice.documents.get(revision=1)
    client = Client()
    client.force_login(make_person("otto", "ops"))
    chosen = {"action": "resend_chosen", "_selected_action": [fine.pk, superseded.pk]}
    assert "Say why" in client.post(LIST, {**chosen, "reason": ""}, follow=True).content.decode()
    assert not DocumentBatch.objects.exists()
    started = client.post(LIST, {**chosen, "reason": "lost in October"})
    batch = DocumentBatch.objects.get()
    page = client.get(started["Location"])
    assert "<b>0</b> done, <b>0</b> refused, <b>2</b> waiting" in page.content.decode()
    assert page["Refresh"] == "2"

    tasks.run_batch(batch.pk)
    tasks.run_batch(batch.pk)
    page = client.get(started["Location"])
    text = page.content.decode()
    assert "<b>1</b> done, <b>1</b> refused, <b>0</b> waiting" in text
    assert "superseded by revision 2" in text
    assert "Refresh" not in page
    mail = fine.mails.get(sequence=1)
    assert (mail.to, mail.reason, mail.requested_by) == (
        [fine.account.billing_email],
        "lost in October",
        "otto",
    )
    assert InvoiceMail.objects.filter(document=superseded).count() == 1
    assert AuditEntry.objects.get(action="invoices.batch_resend").after == {"documents": 2}


def test_new_revisions_for_many():
    changed, same = store(make_document()), store(make_document())
    changed.invoice.status = "void"
    changed.invoice.save()
    batch = start(changed, same, action=BatchAction.REVISE)
    tasks.run_batch(batch.pk)
    done, refused = batch.items.all()
    assert (done.state, done.made.revision, done.made.requested_by) == (ItemState.DONE, 2, "ada")
    assert (refused.state, refused.made) == (ItemState.REFUSED, None)
    assert "already says exactly this" in refused.detail


def test_a_worker_that_dies_leaves_the_item_waiting_and_nothing_half_done(monkeypatch):
    document = store(make_document())
    batch = start(document)
    item = batch.items.get()
    real = services.resend_document

    def die(**arguments):
        real(**arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(services, "resend_document", die)
    with pytest.raises(KeyboardInterrupt):
        services.run_item(item_id=item.pk, now=NOW)
    item.refresh_from_db()
    assert (item.state, item.attempts, document.mails.count()) == (ItemState.WAITING, 1, 1)
    monkeypatch.setattr(services, "resend_document", real)
    assert services.run_item(item_id=item.pk, now=NOW)
    assert not services.run_item(item_id=item.pk, now=NOW)
    # A worker that had looked before the other was done, and comes second.
    assert not services._settle(item.pk, NOW)
    assert document.mails.count() == 2


def test_an_item_that_takes_every_worker_with_it_lets_the_others_go_first_and_is_given_up(monkeypatch):
    bad, good = store(make_document()), store(make_document())
    batch = start(bad, good)
    first, second = batch.items.all()
    BatchItem.objects.filter(pk=first.pk).update(attempts=services.MAX_ATTEMPTS)
    assert services.list_waiting(batch_id=batch.pk, limit=10) == [second.pk, first.pk]
    tasks.run_batch(batch.pk)
    first.refresh_from_db()
    assert (first.state, bad.mails.count(), good.mails.count()) == (ItemState.REFUSED, 1, 2)


def test_the_sweeper_wakes_a_worker_for_what_was_left(monkeypatch):
    batch = start(store(make_document()))
    kicked = []
    for module in (services, sweeping):
        monkeypatch.setattr(module, "send_kick", lambda task, *args: kicked.append((task, *args)) or True)
    assert sweeping.sweep_invoices(now=NOW + timedelta(hours=1)).batches_kicked == 1
    assert ("invoices.run_batch", batch.pk) in kicked


def test_what_cannot_be_started():
    with pytest.raises(InvalidInput, match="choose at least one"):
        start()
    with pytest.raises(InvalidInput, match="more than 500"):
        services.start_batch(
            action=BatchAction.RESEND, document_ids=range(501), reason="x", actor="ada", now=NOW
        )
    document = store(make_document())
    client = Client()
    client.force_login(make_person("erin", "engineer"))
    chosen = {"_selected_action": [document.pk], "reason": "x"}
    client.post(LIST, {**chosen, "action": "resend_chosen"})
    assert not DocumentBatch.objects.exists(), "engineers do not mail"
    client.post(LIST, {**chosen, "action": "revise_chosen"})
    assert DocumentBatch.objects.get().requested_by == "erin"
