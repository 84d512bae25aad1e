"""A worker of its own for the test that kills workers: `python -m tests.invoices.worker_process prepare|work`.

`prepare` lays accounts and a catalog and takes in every event twice, shuffled. `work` does what a Celery worker and its
beat do (the inbox, the sweeper's finds, renders, mails) until nothing is left. Both run under `tests.settings` with
`TEST_DATABASE_URL`, and keep their files in `FILES_DIR`.
"""

from __future__ import annotations

import os
import random
import sys
import time
from datetime import timedelta
from typing import Any

from tests.invoices.noting_backend import configure

INVOICES = 300
#: So many of them were paid through Stripe and get a receipt; the next ones were paid elsewhere and are credited.
RECEIPTS = 12
CREDIT_NOTES = 12
MAILS = INVOICES + RECEIPTS + CREDIT_NOTES
#: Instead of minutes: what a killed worker holds is taken over while the test waits.
STALE_AFTER = timedelta(seconds=5)


def prepare() -> None:
    import json

    from django.utils import timezone

    from billing_worker.catalog.models import CatalogProduct
    from billing_worker.webhooks.services import receive_event
    from tests.factories import CustomerAccountFactory
    from tests.mirror.samples import (
        NOVEMBER,
        make_credit_note,
        make_event,
        make_invoice,
        make_line,
        make_paid_invoice,
    )

    CatalogProduct.objects.create(kind="ST", name="ST impressions", stripe_product_id="prod_st")
    events = []
    for number in range(INVOICES):
        CustomerAccountFactory.create(id=5000 + number, stripe_customer_id=f"cus_{number}")
        changes = {
            "id": f"in_{number}",
            "number": f"KILL-{number:04d}",
            "customer": f"cus_{number}",
            "lines": [make_line(id=f"il_{number}")],
        }
        for rank, (type_, make) in enumerate(
            [("invoice.finalized", make_invoice), ("invoice.paid", make_paid_invoice)]
        ):
            event = make_event(type_, make(**changes), id=f"evt_{number}_{rank}", created=NOVEMBER + rank)
            events += [event | {"livemode": False}] * 2
        if RECEIPTS <= number < RECEIPTS + CREDIT_NOTES:
            note = make_credit_note(
                id=f"cn_{number}",
                number=f"KILL-{number:04d}-CN-01",
                invoice=f"in_{number}",
                customer=f"cus_{number}",
            )
            for rank, type_ in enumerate(["credit_note.created", "credit_note.updated"], start=2):
                event = make_event(type_, note, id=f"evt_{number}_{rank}", created=NOVEMBER + rank)
                events += [event | {"livemode": False}] * 2
    random.Random(7).shuffle(events)
    for event in events:
        receive_event(payload=event, text=json.dumps(event), now=timezone.now())


def work() -> None:
    from django.utils import timezone

    from billing_worker import gateway
    from billing_worker.webhooks import selectors
    from billing_worker.webhooks.tasks import drain_inbox
    from invoices.models import InvoiceMail
    from invoices.selectors import select_due_documents, select_due_mails
    from invoices.services.documents import render_document
    from invoices.services.mails import deliver_mail
    from invoices.services.payments import read_payments, select_unread_payments
    from invoices.services.sweeping import sweep_invoices
    from tests.mirror.samples import make_customer

    setattr(selectors, "CLAIM_TIMEOUT", STALE_AFTER)  # noqa: B010 (a constant of theirs)
    setattr(gateway, "read_payload", lambda *, kind, id: make_customer(id=id))  # noqa: B010
    setattr(gateway, "list_invoice_payments", list_payments)  # noqa: B010
    chance = random.Random(os.getpid())
    while InvoiceMail.objects.filter(state="sent").count() < MAILS or selectors.count_unsettled():
        drain_inbox(seconds=0.5)
        sweep_invoices(now=timezone.now(), stale_after=STALE_AFTER)
        unread = list(select_unread_payments().values_list("invoice_id", flat=True)[:40])
        for invoice_id in chance.sample(unread, len(unread)):
            read_payments(invoice_id=invoice_id, now=timezone.now())
        documents = list(select_due_documents(timezone.now()).values_list("pk", flat=True)[:20])
        for document_id in chance.sample(documents, len(documents)):
            render_document(document_id=document_id, now=timezone.now())
        mails = list(select_due_mails(timezone.now()).values_list("pk", flat=True)[:40])
        for mail_id in chance.sample(mails, len(mails)):
            deliver_mail(mail_id=mail_id, now=timezone.now())
        if not documents and not mails and not unread:
            time.sleep(0.1)


def list_payments(invoice: str) -> list[Any]:
    """What Stripe would say of an invoice's payments."""
    from datetime import UTC, datetime

    from billing_worker.gateway import InvoicePayment

    number = int(invoice.removeprefix("in_"))
    paid_at = datetime(2026, 11, 1, 1, 1, tzinfo=UTC)
    payment = InvoicePayment(
        id=f"inpay_{number}",
        status="paid",
        amount_paid_minor=20,
        currency="usd",
        paid_at=paid_at,
        attempts=(),
    )
    return [payment] if number < RECEIPTS else []


if __name__ == "__main__":
    configure()
    {"prepare": prepare, "work": work}[sys.argv[1]]()
