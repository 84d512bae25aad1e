"""Celery tasks: they read the clock, call services, and are safe to run twice at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from random import randrange
from time import monotonic

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from billing_worker import gateway
from billing_worker.alerts.kicks import send_kick
from billing_worker.core.periods import Period
from invoices.batches import services as batches
from invoices.previewing import services as previewing
from invoices.selectors import list_due_mail_ids, select_due_documents
from invoices.services import documents, mails, managed, payments, sweeping

#: Rows looked at together: others render at the same time, so a longer list would be out of date before its end.
_BATCH = 10
#: A task gives way after this long, so that a month's end does not keep a worker from everything else.
_SECONDS_PER_TASK = 20.0


@shared_task(name="invoices.render_document")
def render_document(document_id: int) -> None:
    """Render and mail a document, and then whatever else waits; hand over to another task when the time is up."""
    deadline = monotonic() + _SECONDS_PER_TASK
    bring_document(document_id)
    while due := _list_due_documents():
        for waiting_id in due:
            if monotonic() >= deadline:
                send_kick("invoices.render_document", waiting_id)
                return
            if not bring_document(waiting_id):
                # Another worker came this far, and what follows is probably done as well: look again.
                break


def _list_due_documents() -> list[int]:
    """Documents that wait, oldest first from a random one on: workers that drain at once do not go in step."""
    due = list(select_due_documents(timezone.now()).values_list("pk", flat=True)[:_BATCH])
    start = randrange(len(due)) if due else 0
    return due[start:] + due[:start]


def bring_document(document_id: int) -> bool:
    """Render a document if it waits, and send its mail if that waits. True if this call rendered it."""
    is_rendered = documents.render_document(document_id=document_id, now=timezone.now())
    for mail_id in list_due_mail_ids(document_id=document_id, now=timezone.now()):
        mails.deliver_mail(mail_id=mail_id, now=timezone.now())
    return is_rendered


@shared_task(name="invoices.deliver_mail")
def deliver_mail(mail_id: int) -> None:
    mails.deliver_mail(mail_id=mail_id, now=timezone.now())


@shared_task(name="invoices.read_payments")
def read_payments(invoice_id: int) -> None:
    payments.read_payments(invoice_id=invoice_id, now=timezone.now())


@shared_task(name="invoices.bill_managed_jobs")
def bill_managed_jobs(period: str | None = None) -> dict[str, int]:
    """Bill the managed jobs of a month, or of all open ones. Nothing in shadow or without a key."""
    counts: Counter[str] = Counter()
    if settings.ENV.SHADOW or not gateway.is_configured():
        return dict(counts)
    now = timezone.now()
    for month in [Period.parse(period)] if period else managed.list_open_periods(now=now):
        counts.update(asdict(managed.bill_managed_jobs(period=month, now=now)))
    return dict(counts)


@shared_task(name="invoices.compare_versions")
def compare_versions(comparison_id: int) -> None:
    previewing.make_comparison(comparison_id=comparison_id, now=timezone.now())


@shared_task(name="invoices.run_batch")
def run_batch(batch_id: int) -> None:
    """Do what a person asked for many documents; hand over to another task when the time is up."""
    deadline = monotonic() + _SECONDS_PER_TASK
    while items := batches.list_waiting(batch_id=batch_id, limit=_BATCH):
        for item_id in items:
            if monotonic() >= deadline:
                send_kick(batches.TASK, batch_id)
                return
            batches.run_item(item_id=item_id, now=timezone.now())


@shared_task(name="invoices.sweep_invoices")
def sweep_invoices() -> None:
    sweeping.sweep_invoices(now=timezone.now())
