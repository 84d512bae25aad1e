"""Managed services that are asked for over REST: one request, one job, one invoice item."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core.management import call_command
from django.test import Client

from billing_worker.accounts.importing.drafts import AccountDraft
from billing_worker.accounts.importing.rows import sync_rows
from billing_worker.accounts.models import FIRST_REQUESTED_JOB, AuditEntry, BillingLease, ManagedJob
from invoices.models import ManagedCharge
from invoices.tasks import bill_managed_jobs
from tests.factories import AccountFactory, BillingLeaseFactory, CustomerAccountFactory, make_service_key
from tests.invoices.factories import NOW, StripeInvoiceFactory, StripeInvoiceLineFactory
from tests.invoices.test_managed import FakeStripe

pytestmark = pytest.mark.django_db
GOOD: dict[str, Any] = {
    "reference": "order-77:setup",
    "account_id": 5001,
    "amount_minor": 123457,
    "currency": "usd",
    "title": "Landing page",
    "completed_on": "2026-10-31",
}


@pytest.fixture(autouse=True)
def _now():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def account():
    account = CustomerAccountFactory.create(id=5001)
    BillingLeaseFactory.create(account=account)
    return account


@pytest.fixture
def client():
    key = make_service_key("jobs:write")
    return Client(raise_request_exception=True, headers={"authorization": f"Api-Key {key}"})


@pytest.fixture
def stripe(monkeypatch, settings) -> FakeStripe:
    fake = FakeStripe()
    monkeypatch.setattr("billing_worker.gateway.create_invoice_item", fake.create_invoice_item)
    monkeypatch.setattr("billing_worker.gateway.is_configured", lambda: True)
    settings.ENV = settings.ENV.model_copy(update={"SHADOW": False})
    return fake


def post(client: Client, body: Any):
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post("/managed-services", text, content_type="application/json")


def test_a_request_becomes_one_job_and_one_invoice_item(client, account, stripe):
    created = post(client, GOOD)
    assert created.status_code == 201
    assert created.json() == GOOD | {"state": "pending", "reason": "", "invoice_item": None, "invoice": None}
    again = post(client, GOOD)
    assert (again.status_code, again.json()) == (200, created.json())
    job = ManagedJob.objects.get()
    assert (job.source, job.status, job.pk >= FIRST_REQUESTED_JOB) == ("request", "done", True)
    assert AuditEntry.objects.filter(action="accounts.job_requested", actor=job.requested_by).count() == 1

    assert bill_managed_jobs()["billed"] == 1
    assert bill_managed_jobs("2026-10")["billed"] == 1
    (item,) = stripe.items.values()
    assert (item["amount_minor"], item["description"]) == (123457, "Landing page")

    invoice = StripeInvoiceFactory.create(account=account, number="ACC-0042")
    item_id = ManagedCharge.objects.get().stripe_invoice_item_id
    StripeInvoiceLineFactory.create(invoice=invoice, invoice_item=item_id)
    shown = client.get("/managed-services/order-77:setup").json()
    assert (shown["state"], shown["invoice_item"], shown["invoice"]) == ("billed", item_id, "ACC-0042")


@pytest.mark.parametrize(
    "change",
    [
        {"amount_minor": 123458},
        {"title": "Another page"},
        {"completed_on": "2026-10-30"},
        {"account_id": 5002},
    ],
)
def test_the_reference_of_another_job_is_a_conflict_that_shows_both(client, account, change):
    post(client, GOOD)
    answer = post(client, GOOD | change)
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "reference_in_use"
    assert "1,234.57 USD" in answer.json()["error"]["message"]
    assert ManagedJob.objects.get().amount_minor == 123457


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"reference": ""}, "reference"),
        ({"reference": "a" * 65}, "reference"),
        ({"reference": "a/b"}, "reference"),
        ({"account_id": "5001"}, "account_id"),
        ({"account_id": True}, "account_id"),
        ({"amount_minor": 0}, "amount_minor"),
        ({"amount_minor": -5}, "amount_minor"),
        ({"amount_minor": 100_000_000}, "amount_minor"),
        ({"amount_minor": 12.5}, "amount_minor"),
        ({"currency": "USD"}, "currency"),
        ({"currency": "eur"}, "currency"),
        ({"title": "  "}, "title"),
        ({"title": "a\u202eb"}, "title"),
        ({"title": "a" * 201}, "title"),
        ({"completed_on": "2026-02-30"}, "completed_on"),
        ({"completed_on": "2026-10"}, "completed_on"),
        ({"completed_on": (NOW + timedelta(days=1)).date().isoformat()}, "completed_on"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_fields_are_named_and_nothing_is_kept(client, account, change, field):
    answer = post(client, GOOD | change)
    assert answer.status_code == 422, answer.content
    assert list(answer.json()["error"]["fields"]) == [field]
    assert not ManagedJob.objects.exists()


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"[]", 422), (b'{"a": 1, "a": 2}', 400), (b" " * 10_001, 413)]
)
def test_bodies_that_are_no_request(client, account, body, status):
    assert post(client, body).status_code == status


def test_missing_fields_are_all_named(client):
    assert set(post(client, {}).json()["error"]["fields"]) == set(GOOD)


def test_unknown_accounts_and_those_that_the_old_service_bills_are_refused(client, account):
    assert post(client, GOOD | {"account_id": 6001}).status_code == 404
    BillingLease.objects.all().delete()
    answer = post(client, GOOD)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "billed_by_legacy")
    child = AccountFactory.create(parent=account)
    BillingLeaseFactory.create(account=child)
    assert post(client, GOOD | {"account_id": child.pk}).status_code == 409, "its payer is billed there"
    assert not ManagedJob.objects.exists()


def test_only_keys_with_the_scope_may_ask(account):
    usage = Client(headers={"authorization": f"Api-Key {make_service_key('usage:write')}"})
    assert post(usage, GOOD).status_code == 403
    assert usage.get("/managed-services/x").status_code == 403
    assert post(Client(), GOOD).status_code == 401


def test_an_unknown_reference_is_not_found(client):
    answer = client.get("/managed-services/nothing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_reference")


def test_an_import_of_the_old_tables_leaves_requested_jobs_alone(client, account):
    post(client, GOOD)
    draft = AccountDraft.__new__(AccountDraft)
    for name in ("plans", "tiers", "jobs"):
        object.__setattr__(draft, name, {})
    sync_rows(account, draft)
    assert ManagedJob.objects.filter(source="request").count() == 1


def test_nothing_is_sent_in_shadow(client, account, stripe, settings):
    post(client, GOOD)
    settings.ENV = settings.ENV.model_copy(update={"SHADOW": True})
    assert bill_managed_jobs() == {}
    assert not stripe.items


def test_the_scope_can_be_given(capsys):
    call_command("create_service_key", "--name", "admin-api", "--scope", "jobs:write")
    assert capsys.readouterr().out
