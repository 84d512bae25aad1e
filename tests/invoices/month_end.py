"""One invoice's way at a month's end, stage by stage in one process: what is counted and profiled is the real thing.

The invoice has seven lines (a flat fee, usage of three types in six tiers) of an account whose catalog and customer are
known, as they are after the first month.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings
from django.test import Client
from django.utils import timezone

from billing_worker.catalog.models import CatalogProduct
from billing_worker.gateway.signatures import sign_payload
from billing_worker.mirror.raw_copies import copy_object
from billing_worker.webhooks.models import CustomerLock
from billing_worker.webhooks.tasks import drain_inbox
from invoices.models import InvoiceDocument, InvoiceMail
from invoices.services.documents import render_document
from invoices.services.mails import deliver_mail
from tests.factories import AccountPlanFactory, AccountTierFactory, CustomerAccountFactory
from tests.mirror.samples import NOVEMBER, make_customer, make_event, make_invoice, make_line

TRACKING_KEY: Final = "signing-key"
STAGES: Final = ("acknowledged", "processed", "rendered", "mailed", "tracked")
#: Kind, unit amount, quantity, amount: the flat fee, then each tier that was used.
LINES: Final = (
    ("sub", "49900", 1, 49900),
    ("ST", "0.25", 1_000_000, 250_000),
    ("ST", "0.2", 4_000_000, 800_000),
    ("ST", "0.15", 1_000_000, 150_000),
    ("RM", "0", 500_000, 0),
    ("RM", "0.4", 300_000, 120_000),
    ("CV", "1.25", 12_345, 15_431),
)
#: Around a stage: a context manager by the stage's name.
Around = Callable[[str], AbstractContextManager[Any]]


def prepare(numbers: range) -> list[dict[str, Any]]:
    """Accounts, catalog and dj-stripe's customers as the months before left them; one event for each number."""
    for kind in ("sub", "ST", "RM", "CV"):
        CatalogProduct.objects.get_or_create(
            kind=kind, defaults={"name": kind, "stripe_product_id": f"prod_{kind.lower()}"}
        )
    return [_prepare_one(number) for number in numbers]


def _prepare_one(number: int) -> dict[str, Any]:
    CustomerLock.objects.create(customer=f"cus_{number}")
    account = CustomerAccountFactory.create(stripe_customer_id=f"cus_{number}", address_country="US")
    AccountPlanFactory.create(account=account)
    for kind in ("ST", "RM", "CV"):
        AccountTierFactory.create(account=account, usage_type=kind)
    october = datetime(2026, 10, 1, tzinfo=UTC)
    assert copy_object(make_customer(id=f"cus_{number}"), event_created_at=october, now=timezone.now())
    lines = [
        make_line(
            id=f"il_{number}_{place}",
            amount=amount,
            quantity=quantity,
            description=f"{kind} impressions",
            pricing={
                "type": "price_details",
                "price_details": {"price": f"price_{kind}", "product": f"prod_{kind.lower()}"},
                "unit_amount_decimal": unit,
            },
        )
        for place, (kind, unit, quantity, amount) in enumerate(LINES)
    ]
    invoice = make_invoice(
        id=f"in_{number}", number=f"MONTH-{number:04d}", customer=f"cus_{number}", lines=lines
    )
    event = make_event("invoice.finalized", invoice, id=f"evt_{number}", created=NOVEMBER)
    return {"object": "event", **event, "livemode": False}


def send_through(event: dict[str, Any], client: Client, around: Around) -> None:
    """Take one event from the webhook to the mail service's word, each stage inside `around(stage)`."""
    number = event["data"]["object"]["number"]
    with around("acknowledged"):
        acknowledge(event, client)
    with around("processed"):
        assert drain_inbox() == {"processed": 1}
    document = InvoiceDocument.objects.get(number=number)
    with around("rendered"):
        assert render_document(document_id=document.pk, now=timezone.now())
    mail = InvoiceMail.objects.get(document=document)
    with around("mailed"):
        assert deliver_mail(mail_id=mail.pk, now=timezone.now())
    with around("tracked"):
        report_delivered(mail, client)


def acknowledge(event: dict[str, Any], client: Client) -> None:
    body = json.dumps(event).encode()
    signature = sign_payload(
        body=body, secret=settings.ENV.STRIPE_WEBHOOK_SECRET[0].get_secret_value(), at=timezone.now()
    )
    answer = client.post(
        "/webhook/stripe", body, content_type="application/json", headers={"Stripe-Signature": signature}
    )
    assert answer.status_code == 200, answer.content


def report_delivered(mail: InvoiceMail, client: Client) -> None:
    """What Mailgun posts once the (one) recipient's server has taken the mail."""
    stamp = str(int(time.time()))
    signature = hmac.new(TRACKING_KEY.encode(), f"{stamp}token".encode(), hashlib.sha256).hexdigest()
    told = {
        "event": "delivered",
        "timestamp": time.time(),
        "id": f"tracking-{mail.pk}",
        "recipient": mail.to[0],
        "message": {"headers": {"message-id": mail.message_id}},
        "delivery-status": {"code": 250, "message": "OK"},
    }
    body = {"signature": {"timestamp": stamp, "token": "token", "signature": signature}, "event-data": told}
    answer = client.post("/invoices/mailgun/tracking", json.dumps(body), content_type="application/json")
    assert answer.status_code == 200, answer.content
