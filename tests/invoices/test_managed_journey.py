"""Where managed services land: the month's invoice, its draft, or the next one. The real SDK against the sandbox."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from billing_worker import gateway
from billing_worker.accounts.jobs import JobRequest, request_job
from billing_worker.accounts.models import Account, TestClock
from billing_worker.catalog.models import CatalogProduct
from billing_worker.core.periods import Period
from billing_worker.gateway import SubscriptionItemSpec
from billing_worker.mirror.models import StripeInvoiceLine
from billing_worker.webhooks.services import backfill_events
from billing_worker.webhooks.tasks import drain_inbox
from invoices.models import ManagedCharge
from invoices.services.charge_decisions import resolve_charges
from invoices.services.managed import bill_managed_jobs
from tests.factories import AccountFactory, BillingLeaseFactory, ClockFactory

pytestmark = [pytest.mark.django_db]
OCTOBER, NOVEMBER = Period(2026, 10), Period(2026, 11)


@pytest.fixture
def account(sandbox_server, settings):
    """A subscriber since 1 October to 100.00 a month, on a test clock."""
    sandbox_server.reset()
    settings.ENV = settings.ENV.model_copy(
        update={"STRIPE_API_BASE": sandbox_server.url, "SHADOW": False, "STRIPE_TIMEOUT_SECONDS": 2}
    )
    product = gateway.create_product(name="Flat fee", metadata={"kind": "sub"}, idempotency_key="product")
    CatalogProduct.objects.create(kind="sub", name="Flat fee", stripe_product_id=product.id)
    price = gateway.create_flat_price(
        product=product.id, currency="usd", unit_amount_decimal=Decimal(10000), lookup_key="flat",
        nickname="Flat fee", metadata={}, idempotency_key="price",
    )  # fmt: skip
    clock = gateway.create_test_clock(frozen_at=OCTOBER.start_at, name="October")
    customer = gateway.create_customer(
        name="Example", email="a@example.com", address=None, metadata={}, test_clock=clock.id,
        idempotency_key="customer",
    )  # fmt: skip
    local = ClockFactory.create(stripe_test_clock_id=clock.id, frozen_at=OCTOBER.start_at)
    account = AccountFactory.create(id=5001, test_clock=local, stripe_customer_id=customer.id)
    for period in (OCTOBER, NOVEMBER):
        BillingLeaseFactory.create(account=account, period=str(period))
    gateway.create_subscription(
        customer=customer.id, items=[SubscriptionItemSpec(price=price.id, quantity=1)],
        collection_method="send_invoice", days_until_due=30, metadata={}, idempotency_key="subscription",
    )  # fmt: skip
    return account


def advance(account: Account, to: datetime) -> None:
    clock = TestClock.objects.get(accounts=account)
    gateway.advance_test_clock(clock.stripe_test_clock_id, to=to)
    assert gateway.get_test_clock(clock.stripe_test_clock_id).status == "ready"
    TestClock.objects.update(frozen_at=to)
    backfill_events(since=OCTOBER.start_at, now=OCTOBER.start_at + timedelta(days=1))
    drain_inbox(seconds=60)


def ask(reference: str, amount_minor: int) -> None:
    request = JobRequest(
        reference=reference, account_id=5001, amount_minor=amount_minor, currency="usd", title=reference,
        completed_on=date(2026, 10, 20),
    )  # fmt: skip
    now = datetime(2026, 11, 21, tzinfo=OCTOBER.start_at.tzinfo)
    request_job(request=request, author="key", now=now)
    assert bill_managed_jobs(period=OCTOBER, now=now).billed >= 1


def test_each_lands_once_before_in_and_after_the_draft(account):
    advance(account, OCTOBER.end_at - timedelta(hours=1))
    ask("before", 1111)
    advance(account, OCTOBER.end_at + timedelta(minutes=10))
    ask("in-draft", 2222)
    advance(account, OCTOBER.end_at + timedelta(hours=3))
    ask("after", 3333)
    advance(account, NOVEMBER.end_at + timedelta(hours=3))

    lines = StripeInvoiceLine.objects.filter(kind="managed").select_related("invoice")
    found = {line.description: (line.amount_minor, line.invoice.period_start.month) for line in lines}
    assert found == {"before": (1111, 10), "in-draft": (2222, 10), "after": (3333, 11)}
    assert lines.count() == 3
    assert {line.period_start.date() for line in lines} == {date(2026, 10, 20)}
    assert {line.invoice.status for line in lines} == {"open"}

    # What Stripe lists is enough to know an item again.
    ManagedCharge.objects.update(
        state="unknown", stripe_invoice_item_id=None, billed_at=None, first_sent_at=OCTOBER.start_at
    )
    assert resolve_charges(now=NOVEMBER.end_at) == 3
    assert set(ManagedCharge.objects.values_list("state", flat=True)) == {"billed"}
