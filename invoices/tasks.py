"""Celery tasks: they read the clock, make one call, and are safe to run twice at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from billing_worker import gateway
from billing_worker.core.periods import Period
from invoices.services import documents, mails, managed, payments, sweeping


@shared_task(name="invoices.render_document")
def render_document(document_id: int) -> None:
    documents.render_document(document_id=document_id, now=timezone.now())


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


@shared_task(name="invoices.sweep_invoices")
def sweep_invoices() -> None:
    sweeping.sweep_invoices(now=timezone.now())
