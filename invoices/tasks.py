"""Celery tasks: they read the clock, make one call, and are safe to run twice at once."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from invoices.services import documents, mails, payments, sweeping


@shared_task(name="invoices.render_document")
def render_document(document_id: int) -> None:
    documents.render_document(document_id=document_id, now=timezone.now())


@shared_task(name="invoices.deliver_mail")
def deliver_mail(mail_id: int) -> None:
    mails.deliver_mail(mail_id=mail_id, now=timezone.now())


@shared_task(name="invoices.read_payments")
def read_payments(invoice_id: int) -> None:
    payments.read_payments(invoice_id=invoice_id, now=timezone.now())


@shared_task(name="invoices.sweep_invoices")
def sweep_invoices() -> None:
    sweeping.sweep_invoices(now=timezone.now())
