"""Stripe's own command line makes things happen in the sandbox; the application records them through its webhook.

Nothing between the two was written for each other: the CLI sends what it sends to Stripe, the sandbox signs and
delivers over HTTP, the application verifies, stores, mirrors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from djstripe.models import Customer, Invoice, Price, Product, Subscription
from pydantic import SecretStr

from billing_worker import gateway
from billing_worker.mirror.models import StripeCreditNote, StripeInvoice, StripeSubscription
from billing_worker.webhooks.models import InboxEvent
from billing_worker.webhooks.registry import list_subscribed_types
from billing_worker.webhooks.states import InboxState
from billing_worker.webhooks.tasks import drain_inbox
from tests.stripe_cli.runner import StripeCli
from tests.support.processes import wait_until
from tests.support.sandbox import SandboxServer

pytestmark = [pytest.mark.stripe_cli, pytest.mark.journey]


@pytest.fixture
def trigger(
    sandbox_server: SandboxServer, live_server: Any, settings: Any, tmp_path: Path
) -> Iterator[Callable[[str], list[InboxEvent]]]:
    """Trigger an event with the CLI and return what the inbox holds once everything has arrived and is settled."""
    sandbox_server.reset()
    settings.ENV = settings.ENV.model_copy(update={"STRIPE_API_BASE": sandbox_server.url})
    endpoint = gateway.create_webhook_endpoint(
        url=f"{live_server.url}/webhook/stripe", events=list_subscribed_types()
    )
    assert endpoint.secret is not None
    settings.ENV = settings.ENV.model_copy(update={"STRIPE_WEBHOOK_SECRET": [SecretStr(endpoint.secret)]})
    cli = StripeCli(sandbox_server.url, home=tmp_path)

    def run(event: str) -> list[InboxEvent]:
        cli.trigger(event)
        recorded = {entry["id"] for entry in list_recorded() if entry["type"] in list_subscribed_types()}
        wait_until(lambda: recorded <= set(InboxEvent.objects.values_list("event_id", flat=True)), seconds=20)
        drain_inbox(seconds=300)
        return list(InboxEvent.objects.order_by("event_created_at", "pk"))

    yield run
    sandbox_server.reset()


def list_recorded() -> list[dict[str, Any]]:
    from datetime import UTC, datetime

    return list(gateway.list_events(created_from=datetime(2020, 1, 1, tzinfo=UTC)))


def expect_settled(rows: list[InboxEvent], *types: str) -> None:
    assert {row.state for row in rows} == {InboxState.PROCESSED}, [
        (row.type, row.state, row.last_error) for row in rows
    ]
    assert all(row.mirrored_at for row in rows)
    assert set(types) <= {row.type for row in rows}
    assert len({row.event_id for row in rows}) == len(rows)


def test_customer_created(trigger) -> None:
    expect_settled(trigger("customer.created"), "customer.created")
    customer = Customer.objects.get()
    assert customer.id.startswith("cus_")
    assert customer.stripe_data["description"] == "(created by Stripe CLI)"


def test_price_created(trigger) -> None:
    expect_settled(trigger("price.created"), "product.created", "price.created")
    assert Price.objects.get().product == Product.objects.get()


def test_invoice_finalized(trigger) -> None:
    expect_settled(trigger("invoice.finalized"), "invoice.created", "invoice.finalized")
    invoice = StripeInvoice.objects.get()
    assert invoice.status == "open"
    assert invoice.number
    assert invoice.finalized_at is not None
    assert invoice.lines_complete
    [line] = invoice.lines.all()
    assert line.amount_minor == invoice.total_minor == 2000
    assert line.invoice_item.startswith("ii_")
    assert line.kind == "custom"
    assert invoice.account is None, "the CLI's customer is none of ours"
    assert Invoice.objects.get().customer.id == invoice.customer


def test_invoice_paid(trigger) -> None:
    expect_settled(trigger("invoice.paid"), "invoice.finalized", "invoice.paid")
    invoice = StripeInvoice.objects.get()
    assert (invoice.status, invoice.amount_remaining_minor) == ("paid", 0)
    assert invoice.amount_paid_minor == invoice.total_minor > 0
    assert invoice.paid_at is not None


def test_invoice_payment_failed(trigger) -> None:
    expect_settled(trigger("invoice.payment_failed"), "invoice.finalized", "invoice.payment_failed")
    invoice = StripeInvoice.objects.get()
    assert (invoice.status, invoice.amount_paid_minor, invoice.attempt_count) == ("open", 0, 1)


def test_subscription_updated(trigger) -> None:
    rows = trigger("customer.subscription.updated")
    expect_settled(rows, "customer.subscription.created", "customer.subscription.updated", "invoice.paid")
    subscription = StripeSubscription.objects.get()
    assert subscription.status == "active"
    assert subscription.metadata == {"foo": "bar"}
    assert subscription.items[0]["price"].startswith("price_")
    assert Subscription.objects.get().id == subscription.stripe_subscription_id
    assert StripeInvoice.objects.get().subscription == subscription.stripe_subscription_id


def test_subscription_deleted(trigger) -> None:
    expect_settled(trigger("customer.subscription.deleted"), "customer.subscription.deleted")
    subscription = StripeSubscription.objects.get()
    assert subscription.status == "canceled"
    assert subscription.ended_at is not None


def test_credit_note_created(trigger) -> None:
    expect_settled(trigger("credit_note.created"), "invoice.finalized", "credit_note.created")
    note = StripeCreditNote.objects.get()
    invoice = StripeInvoice.objects.get()
    assert (note.status, note.stripe_invoice_id) == ("issued", invoice.stripe_invoice_id)
    assert (note.amount_minor, invoice.total_minor) == (1000, 2000)


def test_events_that_never_arrived_are_fetched(trigger, sandbox_server, live_server, settings) -> None:
    """The endpoint is wrong for a while: Stripe's own record still has everything."""
    from datetime import timedelta

    from django.utils import timezone

    from billing_worker.webhooks.services import backfill_events

    trigger("customer.created")
    InboxEvent.objects.all().delete()
    seen, added = backfill_events(since=timezone.now() - timedelta(hours=1), now=timezone.now())
    assert added == seen >= 1
    drain_inbox(seconds=300)
    expect_settled(list(InboxEvent.objects.all()), "customer.created")
