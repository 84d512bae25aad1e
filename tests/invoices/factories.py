"""The smallest valid mirrored invoice, and the way to a stored document."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from factory.declarations import LazyAttribute, SelfAttribute, Sequence, SubFactory
from factory.django import DjangoModelFactory

from billing_worker.mirror.models import (
    StripeCreditNote,
    StripeCreditNoteLine,
    StripeInvoice,
    StripeInvoiceLine,
)
from invoices.models import InvoiceDocument
from invoices.services.documents import ensure_document, render_document
from tests.factories import CustomerAccountFactory

#: Two hours after the October invoice was finalized.
NOW = datetime(2026, 11, 1, 3, tzinfo=UTC)
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)


class StripeInvoiceFactory(DjangoModelFactory[StripeInvoice]):
    """An open invoice for October of an account of ours; its sums follow `subtotal_minor`."""

    class Meta:
        model = StripeInvoice

    stripe_invoice_id = Sequence(lambda n: f"in_{n}")
    account = SubFactory(CustomerAccountFactory)
    customer = LazyAttribute(
        lambda invoice: invoice.account.stripe_customer_id if invoice.account else "cus_foreign"
    )
    number = Sequence(lambda n: f"ACC-{n:04d}")
    status = "open"
    currency = "usd"
    subtotal_minor = 52400
    total_minor = SelfAttribute("subtotal_minor")
    amount_due_minor = SelfAttribute("total_minor")
    amount_paid_minor = 0
    amount_remaining_minor = LazyAttribute(
        lambda invoice: invoice.amount_due_minor - invoice.amount_paid_minor
    )
    billing_reason = "subscription_cycle"
    collection_method = "charge_automatically"
    subscription = "sub_1"
    period_start = OCTOBER
    period_end = NOVEMBER
    created_at = NOVEMBER
    finalized_at = NOVEMBER + timedelta(hours=1)
    last_event_at = NOVEMBER + timedelta(hours=1)
    hosted_invoice_url = "https://invoice.example.com/i/1"


class StripeInvoiceLineFactory(DjangoModelFactory[StripeInvoiceLine]):
    """The flat fee for November."""

    class Meta:
        model = StripeInvoiceLine

    invoice = SubFactory(StripeInvoiceFactory)
    stripe_line_id = Sequence(lambda n: f"il_{n}")
    position = Sequence(int)
    kind = "sub"
    account = SelfAttribute("invoice.account")
    amount_minor = 49900
    currency = "usd"
    quantity = 1
    unit_amount_decimal = Decimal(49900)
    description = "1 x Flat fee (at $499.00 / month)"
    period_start = NOVEMBER
    period_end = DECEMBER


def make_invoice(**changes: Any) -> StripeInvoice:
    """499.00 flat and 25.00 for 200,000 impressions of which the first 100,000 are free: 524.00."""
    invoice = StripeInvoiceFactory.create(**changes)
    StripeInvoiceLineFactory.create(invoice=invoice, position=0)
    for position, (rate, amount) in enumerate([("0", 0), ("0.025", 2500)], start=1):
        StripeInvoiceLineFactory.create(
            invoice=invoice,
            position=position,
            kind="ST",
            quantity=100_000,
            unit_amount_decimal=Decimal(rate),
            amount_minor=amount,
            description="ST impressions",
            period_start=OCTOBER,
            period_end=NOVEMBER,
        )
    return invoice


def make_document(invoice: StripeInvoice | None = None) -> InvoiceDocument:
    """A document that waits to be rendered."""
    document = ensure_document(invoice_id=(invoice or make_invoice()).pk, reason="test", now=NOW)
    assert document is not None
    return document


def make_stored_document(invoice: StripeInvoice | None = None) -> InvoiceDocument:
    """A document with its PDF in storage and its mail queued."""
    document = make_document(invoice)
    assert render_document(document_id=document.pk, now=NOW)
    document.refresh_from_db()
    return document


class StripeCreditNoteFactory(DjangoModelFactory[StripeCreditNote]):
    """An issued credit note of an invoice of ours, refunded, with one line for the flat fee."""

    class Meta:
        model = StripeCreditNote
        exclude = ("invoice",)

    invoice = SubFactory(StripeInvoiceFactory)
    stripe_credit_note_id = Sequence(lambda n: f"cn_{n}")
    stripe_invoice_id = SelfAttribute("invoice.stripe_invoice_id")
    account = SelfAttribute("invoice.account")
    customer = SelfAttribute("invoice.customer")
    number = LazyAttribute(lambda note: f"{note.invoice.number}-CN-01")
    status = "issued"
    currency = SelfAttribute("invoice.currency")
    amount_minor = SelfAttribute("total_minor")
    subtotal_minor = SelfAttribute("total_minor")
    total_minor = 10000
    pre_payment_minor = 0
    post_payment_minor = LazyAttribute(lambda note: note.total_minor - note.pre_payment_minor)
    refunded_minor = SelfAttribute("post_payment_minor")
    reason = "order_change"
    created_at = NOVEMBER + timedelta(days=6)
    effective_at = SelfAttribute("created_at")
    last_event_at = SelfAttribute("created_at")


def make_credit_note(invoice: StripeInvoice, **changes: Any) -> StripeCreditNote:
    """100.00 back of the flat fee of November, unless `changes` say otherwise."""
    note = StripeCreditNoteFactory.create(invoice=invoice, **changes)
    StripeCreditNoteLine.objects.create(
        credit_note=note,
        stripe_line_id=f"cnli_{note.pk}",
        position=0,
        kind="sub",
        account=invoice.account,
        amount_minor=note.total_minor,
        currency=note.currency,
        description="1 x Flat fee (at $499.00 / month)",
        period_start=NOVEMBER,
        period_end=DECEMBER,
    )
    return note
