"""Usage that comes late, inside the draft's window, is on the invoice: the real SDK against the stand-in for Stripe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing_worker import gateway
from billing_worker.accounts.models import Account, TestClock
from billing_worker.catalog.models import CatalogMeter, CatalogProduct
from billing_worker.core.periods import Period
from billing_worker.gateway import PriceTier, SubscriptionItemSpec
from billing_worker.mirror.models import StripeInvoice
from billing_worker.webhooks.services import backfill_events
from billing_worker.webhooks.tasks import drain_inbox
from metering.draft_window.completions import declare_complete
from metering.draft_window.models import DraftHold
from metering.draft_window.tasks import sweep_draft_holds, work_draft_hold
from metering.models import MeterEvent
from metering.services.ingest import store_usage
from metering.tasks import roll_up_usage, send_meter_events
from tests.factories import AccountFactory, BillingLeaseFactory, ClockFactory, make_tiers
from tests.metering.factories import make_input
from tests.support.sandbox import SandboxServer

pytestmark = [pytest.mark.django_db, pytest.mark.journey]
OCTOBER = Period(2026, 10)
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def stripe(sandbox_server: SandboxServer, settings):
    sandbox_server.reset()
    settings.ENV = settings.ENV.model_copy(
        update={"STRIPE_API_BASE": sandbox_server.url, "SHADOW": False, "STRIPE_TIMEOUT_SECONDS": 2}
    )
    return sandbox_server


@pytest.fixture
def account(stripe):
    """A subscriber since 1 October to ST impressions at 0.2 cents, on a test clock on the last evening."""
    meter = gateway.create_meter(event_name="impressions_st", display_name="ST", idempotency_key="meter")
    CatalogMeter.objects.create(usage_type="ST", event_name="impressions_st", stripe_meter_id=meter.id)
    product = gateway.create_product(name="ST", metadata={"kind": "ST"}, idempotency_key="product")
    CatalogProduct.objects.create(kind="ST", name="ST", stripe_product_id=product.id)
    tier = PriceTier(up_to=None, unit_amount_decimal=Decimal("0.2"), flat_amount_decimal=None)
    price = gateway.create_graduated_price(
        product=product.id, currency="usd", meter=meter.id, tiers=[tier], lookup_key="st", nickname="ST",
        metadata={}, idempotency_key="price",
    )  # fmt: skip
    clock = gateway.create_test_clock(frozen_at=OCTOBER.start_at, name="October")
    local = ClockFactory.create(stripe_test_clock_id=clock.id, frozen_at=OCTOBER.start_at)
    customer = gateway.create_customer(
        name="Example", email="a@example.com", address=None, metadata={}, test_clock=clock.id,
        idempotency_key="customer",
    )  # fmt: skip
    account = AccountFactory.create(id=5001, test_clock=local, stripe_customer_id=customer.id)
    make_tiers(account, "ST", (None, "0.2"))
    BillingLeaseFactory.create(account=account)
    gateway.create_subscription(
        customer=customer.id, items=[SubscriptionItemSpec(price=price.id, quantity=None)],
        collection_method="send_invoice", days_until_due=30, metadata={}, idempotency_key="subscription",
    )  # fmt: skip
    advance(account, timedelta(minutes=-30))
    return account


def advance(account: Account, after_month: timedelta) -> None:
    """Move the customer's clock to some time after October's end, and take in what Stripe tells of it."""
    clock = TestClock.objects.get(accounts=account)
    to = OCTOBER.end_at + after_month
    gateway.advance_test_clock(clock.stripe_test_clock_id, to=to)
    assert gateway.get_test_clock(clock.stripe_test_clock_id).status == "ready"
    TestClock.objects.update(frozen_at=to)
    take_webhooks()


def take_webhooks() -> None:
    backfill_events(since=OCTOBER.start_at, now=OCTOBER.start_at + timedelta(days=1))
    drain_inbox(seconds=300)


def tell(day: str, quantity: int) -> None:
    store_usage(records=[make_input(5001, day, "ST", quantity)], author="key", now=NOW)
    roll_up_usage()
    send_meter_events()


def declare() -> None:
    declare_complete(period=OCTOBER, account_ids=[5001], actor="key", now=NOW)


def get_hold() -> DraftHold:
    return DraftHold.objects.get(period="2026-10")


def get_invoice() -> gateway.Invoice:
    return gateway.get_invoice(get_hold().stripe_invoice_id)


def test_late_usage_inside_the_window_is_on_the_invoice(account):
    tell("2026-10-05", 100_000)
    advance(account, timedelta(minutes=10))
    hold = get_hold()
    assert hold.state == "planned"
    assert work_draft_hold(hold.pk) == "held"
    assert not get_invoice().auto_advance

    advance(account, timedelta(hours=5))
    assert get_invoice().status == "draft", "Stripe waits for us"
    tell("2026-10-31", 50_000)
    assert sweep_draft_holds() == {}
    declare()
    assert sweep_draft_holds() == {"held": 1}, (
        "the last event is minutes old: Stripe may not have added it up"
    )
    DraftHold.objects.update(next_attempt_at=None)
    MeterEvent.objects.update(sent_at=NOW - timedelta(days=1))
    assert sweep_draft_holds() == {"released": 1}

    invoice = get_invoice()
    assert (invoice.status, invoice.total_minor) == ("open", 30_000)
    take_webhooks()
    assert StripeInvoice.objects.get(stripe_invoice_id=invoice.id).status == "open"
    assert get_hold().finalized_at == OCTOBER.end_at + timedelta(hours=5)


def test_within_the_hour_the_draft_is_given_back_and_stripe_finalizes_it(account):
    tell("2026-10-05", 100_000)
    advance(account, timedelta(minutes=10))
    assert work_draft_hold(get_hold().pk) == "held"
    tell("2026-10-31", 50_000)
    declare()
    assert sweep_draft_holds() == {"released": 1}
    assert (get_invoice().status, get_invoice().auto_advance) == ("draft", True)
    advance(account, timedelta(hours=2))
    assert (get_invoice().status, get_invoice().total_minor) == ("open", 30_000)
    assert get_hold().finalized_at == OCTOBER.end_at + timedelta(hours=1, minutes=10)


def test_a_complete_month_is_not_held(account):
    tell("2026-10-05", 100_000)
    declare()
    advance(account, timedelta(minutes=10))
    assert get_hold().state == "not_needed"
    assert get_invoice().auto_advance
    assert not DraftHold.objects.exclude(period="2026-10").exists(), "the first invoice bills no usage"


@pytest.mark.parametrize("kind", ["500_before", "500_after", "timeout_after", "drop_after"])
def test_faults_at_every_call_hold_and_finalize_once(account, stripe, kind):
    advance(account, timedelta(minutes=10))
    hold = get_hold()
    fault = {"method": "POST", "path": f"/v1/invoices/{hold.stripe_invoice_id}", "kind": kind, "times": 1}
    stripe.control("POST", "/_sandbox/faults", fault | {"seconds": 3})
    assert work_draft_hold(hold.pk) == "planned"
    DraftHold.objects.update(next_attempt_at=None)
    assert work_draft_hold(hold.pk) == "held"
    assert not get_invoice().auto_advance

    advance(account, timedelta(hours=5))
    declare()
    path = f"/v1/invoices/{hold.stripe_invoice_id}/finalize"
    stripe.control("POST", "/_sandbox/faults", fault | {"path": path, "times": 3, "seconds": 3})
    sweep_draft_holds()
    stripe.control("DELETE", "/_sandbox/faults")
    DraftHold.objects.update(next_attempt_at=None)
    sweep_draft_holds()
    assert get_hold().state == "released"
    assert get_invoice().status in ("open", "paid")
    types = [event["type"] for event in gateway.list_events(created_from=OCTOBER.end_at)]
    assert types.count("invoice.finalized") == 1
