"""When a customer is looked at: changes here, changes at Stripe, and once a day."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from billing_worker import gateway
from billing_worker.accounts import customers as kicking
from billing_worker.accounts.services import change_document_settings
from billing_worker.customers.models import CustomerSync
from billing_worker.customers.selectors import list_due
from billing_worker.customers.services import following
from billing_worker.customers.tasks import sync_account as task
from billing_worker.gateway.transport import call, make_path
from billing_worker.webhooks.registry import StripeEvent, get_receivers, list_subscribed_types
from tests.customers.world import (
    add_at_stripe,
    change,
    edit_at_stripe,
    get_row,
    list_values,
    look,
    provision,
    sync,
)
from tests.factories import NOW, AccountFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def kicks(monkeypatch):
    sent: list[tuple[Any, ...]] = []
    for module in (kicking, following):
        monkeypatch.setattr(module, "kick", lambda *args: sent.append(args))
    return sent


def deliver(account, **filters: Any) -> int:
    """Hand everything that Stripe told of the customer to the receivers, oldest first; answers how many events."""
    events = [
        event for event in gateway.list_events(created_from=NOW) if event["type"].startswith("customer.")
    ]
    for event in reversed(events):
        for receiver in get_receivers(event["type"]):
            receiver(
                StripeEvent(
                    id=event["id"],
                    type=event["type"],
                    created_at=NOW,
                    object=event["data"]["object"],
                    previous_attributes=event["data"].get("previous_attributes") or {},
                    customer=account.stripe_customer_id,
                    now=NOW,
                )
            )
    return len(events)


def test_a_change_in_the_console_kicks_the_look_at_its_customer(stripe, kicks):
    account, other = provision(), AccountFactory.create()
    settings: dict[str, Any] = {
        "locale": "fr_CH", "invoice_format": "pdf", "tax_id_type": "eu_vat", "tax_id_value": "ATU12345678",
        "actor": "fay", "now": NOW,
    }  # fmt: skip
    change_document_settings(account_id=account.pk, **settings)
    change_document_settings(account_id=other.pk, **settings)
    assert kicks == [("customers.sync_account", account.pk)], "who is not provisioned is left alone"
    assert task(account.pk) == "changed"
    assert (look(account).preferred_locales, list_values(account)) == (("fr-CH", "fr"), ["ATU12345678"])
    kicks.clear()
    change_document_settings(account_id=account.pk, **{**settings, "invoice_format": "facturx"})
    assert kicks == [], "nothing of it is at Stripe"


def test_what_we_wrote_and_read_ourselves_is_no_news(stripe, kicks):
    account = provision()
    change(account, name="Neu GmbH", tax_id_value="ATU12345678")
    sync(account)
    kicks.clear()
    edit_at_stripe(account, phone="+49 30 1", balance=-100)
    assert deliver(account) > 5
    # The tax id that is gone by now was made and verified once: that is looked for. Nothing else is news.
    assert len(kicks) == 2
    assert sync(account).outcome == "unchanged"
    assert get_row(account).told_at is None


@pytest.mark.parametrize(
    "happen",
    [
        lambda account: edit_at_stripe(account, email="portal@example.com"),
        lambda account: edit_at_stripe(account, tax_exempt="reverse"),
        lambda account: edit_at_stripe(account, metadata={"account_id": "1"}),
        lambda account: add_at_stripe(account, "us_ein", "12-3456789"),
        lambda account: gateway.delete_tax_id(account.stripe_customer_id, look(account).tax_ids[0].id),
        lambda account: call("delete", make_path("customers", account.stripe_customer_id)),
    ],
)
def test_what_somebody_did_at_stripe_is_looked_at(stripe, kicks, happen):
    account = provision(tax_id_value="DE222222222")
    sync(account)
    deliver(account)
    sync(account)
    kicks.clear()
    happen(account)
    deliver(account)
    assert set(kicks) == {("customers.sync_account", account.pk)}
    assert get_row(account).told_at == NOW


def test_customers_of_others_are_no_business_of_ours(stripe, kicks):
    account = provision()
    CustomerSync.objects.all().delete()
    edit_at_stripe(account, email="x@example.com")
    deliver(account)
    assert kicks == []


def test_who_is_looked_at_in_the_hour(stripe):
    account = provision()
    assert list_due(now=NOW) == [get_row(account)], "never read"
    sync(account)
    assert list_due(now=NOW + timedelta(hours=23)) == []
    assert list_due(now=NOW + timedelta(hours=25)) == [get_row(account)]
    change(account, locale="en_GB")
    assert list_due(now=NOW) == [get_row(account)], "its account has changed, and the kick got lost"
    sync(account)
    assert list_due(now=NOW) == []
    CustomerSync.objects.update(told_at=NOW)
    assert list_due(now=NOW) == [get_row(account)]


def test_an_endpoint_asks_for_tax_ids():
    assert {f"customer.tax_id.{verb}" for verb in ("created", "updated", "deleted")} <= set(
        list_subscribed_types()
    )


def test_without_a_key_a_kick_does_nothing(stripe, settings):
    account = provision()
    settings.ENV = settings.ENV.model_copy(update={"STRIPE_SECRET_KEY": None})
    assert task(account.pk) == "waiting"
