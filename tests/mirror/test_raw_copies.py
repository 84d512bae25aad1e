"""dj-stripe's tables, filled without dj-stripe's calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from djstripe.models import Account, APIKey, Customer, Event, Invoice, Price, Product, Subscription

from billing_worker import gateway
from billing_worker.alerts.models import Alert
from billing_worker.mirror.models import RawCopy
from billing_worker.mirror.raw_copies import copy_object, retry_copies
from billing_worker.mirror.selectors import list_due_copies
from tests.mirror.samples import (
    NOVEMBER,
    make_customer,
    make_invoice,
    make_paid_invoice,
    make_price,
    make_product,
    make_subscription,
)

pytestmark = pytest.mark.django_db

AT = datetime.fromtimestamp(NOVEMBER, UTC)
NOW = AT + timedelta(seconds=2)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Stripe answers when an object is read: a payload, or an error to raise."""
    answers: dict[str, Any] = {}

    def read(*, kind: str, id: str) -> dict[str, Any]:
        answer = answers.get(id)
        if answer is None:
            raise gateway.GatewayNotFound("none", stripe_code="resource_missing", param="id", status=404)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    monkeypatch.setattr(gateway, "read_payload", read)
    return answers


def copy(payload: dict[str, Any], *, at: datetime = AT, **options: Any) -> bool:
    return copy_object(payload, event_created_at=at, now=NOW, **options)


@pytest.mark.usefixtures("reads")
def test_each_kind_has_its_row() -> None:
    for payload in (
        make_customer(), make_product(), make_price(), make_subscription(), make_invoice()
    ):  # fmt: skip
        assert copy(payload)
    assert Customer.objects.get().email == "billing@example.com"
    assert Price.objects.get().product == Product.objects.get()
    invoice = Invoice.objects.get()
    assert invoice.customer.id == "cus_1"
    assert invoice.subscription == Subscription.objects.get()
    assert (invoice.status, invoice.number) == ("open", "EXAMPLE-0001")
    assert invoice.created == datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.usefixtures("reads")
def test_no_key_account_or_event_is_stored() -> None:
    copy(make_customer())
    copy(make_invoice())
    assert not APIKey.objects.exists()
    assert not Account.objects.exists()
    assert not Event.objects.exists()


@pytest.mark.usefixtures("reads")
def test_a_late_event_does_not_overwrite() -> None:
    copy(make_customer(name="New"), at=AT)
    assert copy(make_customer(name="Old"), at=AT - timedelta(seconds=1))
    assert Customer.objects.get().name == "New"
    copy(make_paid_invoice(), at=AT)
    copy(make_invoice(), at=AT)
    assert Invoice.objects.get().status == "paid"


@pytest.mark.usefixtures("reads")
def test_a_deleted_customer_stays_and_says_so() -> None:
    copy(make_customer())
    copy(make_customer(), at=AT + timedelta(seconds=1), is_deleted=True)
    assert Customer.objects.get().deleted is True


def test_a_customer_that_never_came_by_is_read(reads) -> None:
    reads["cus_1"] = make_customer(name="Read")
    assert copy(make_invoice())
    assert Customer.objects.get().name == "Read"
    assert Invoice.objects.get().customer.id == "cus_1"


def test_a_failure_is_noted_retried_and_told_of(reads) -> None:
    reads["cus_1"] = gateway.GatewayUnavailable("Stripe is down", outcome_unknown=True)
    assert not copy(make_invoice())
    row = RawCopy.objects.get()
    assert (row.failed_attempts, row.copied_at) == (1, None)
    assert row.next_attempt_at == NOW + timedelta(minutes=1)
    assert "Stripe is down" in row.last_error
    assert not Alert.objects.exists()

    reads["in_1"] = make_paid_invoice()
    later = NOW
    for _ in range(2):
        later += timedelta(hours=1)
        assert retry_copies(copies=list_due_copies(now=later, limit=9), now=later) == 0
    assert Alert.objects.get().name == "mirror_failed"

    reads["cus_1"] = make_customer()
    later += timedelta(hours=3)
    assert retry_copies(copies=list_due_copies(now=later, limit=9), now=later) == 1
    assert Invoice.objects.get().status == "paid"
    row = RawCopy.objects.get(kind="invoice")
    assert (row.failed_attempts, row.next_attempt_at, row.last_error) == (0, None, "")
    assert Alert.objects.get().status == "resolved"
    assert list_due_copies(now=later + timedelta(days=1), limit=9) == []


def test_what_is_gone_is_not_retried_for_ever(reads) -> None:
    reads["cus_1"] = gateway.GatewayRateLimited("slow down")
    copy(make_invoice())
    later = NOW + timedelta(hours=1)
    assert retry_copies(copies=list_due_copies(now=later, limit=9), now=later) == 1
    assert list_due_copies(now=later + timedelta(days=1), limit=9) == []


@pytest.mark.usefixtures("reads")
def test_fractions_are_kept_to_the_last_digit() -> None:
    copy(make_product(shippable=Decimal("0.1234567890123456789")))
    assert Product.objects.get().stripe_data["shippable"] == "0.1234567890123456789"


@pytest.mark.usefixtures("reads")
def test_a_copy_costs_few_queries() -> None:
    copy(make_customer())
    copy(make_invoice())
    with CaptureQueriesContext(connection) as queries:
        copy(make_paid_invoice(), at=AT + timedelta(seconds=1))
    # Parent, subscription, savepoint, our row, dj-stripe's row, our row, release.
    assert len(queries) <= 8


def test_kinds_without_a_table_are_done() -> None:
    assert copy({"object": "credit_note", "id": "cn_1"})
    assert copy({"object": "v2.core.event", "id": "evt_1"})
    assert not RawCopy.objects.exists()
