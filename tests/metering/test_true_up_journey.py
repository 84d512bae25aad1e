"""A month billed, usage that comes later, and what finance makes of it: the real SDK against the sandbox."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing_worker import gateway
from billing_worker.accounts.models import Account, TestClock
from billing_worker.catalog.models import CatalogMeter, CatalogProduct
from billing_worker.core.periods import Period
from billing_worker.gateway import PriceTier
from billing_worker.gateway.transport import call
from billing_worker.mirror.models import StripeCreditNoteLine, StripeInvoiceLine
from billing_worker.webhooks.services import backfill_events
from billing_worker.webhooks.tasks import drain_inbox
from metering.draft_window.completions import declare_complete
from metering.models import MeterEvent, TrueUp
from metering.services.ingest import store_usage
from metering.tasks import propose, roll_up_usage, send_meter_events, work_true_up
from metering.true_ups.deciding import approve_true_up
from reconciliation.ledgers import read_stripe_ledger
from tests.factories import AccountFactory, BillingLeaseFactory, ClockFactory, make_tiers
from tests.metering.factories import make_input
from tests.support.sandbox import SandboxServer

pytestmark = [pytest.mark.django_db]
OCTOBER = Period(2026, 10)
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def account(sandbox_server: SandboxServer, settings, request) -> Account:
    """A subscriber since October to ST impressions: 100,000 at 0.2 cents, more at 0.1. On a test clock.

    10 % tax come on top; the parameter puts them inside the price.
    """
    sandbox_server.reset()
    settings.ENV = settings.ENV.model_copy(
        update={"STRIPE_API_BASE": sandbox_server.url, "SHADOW": False, "STRIPE_TIMEOUT_SECONDS": 2}
    )
    meter = gateway.create_meter(event_name="impressions_st", display_name="ST", idempotency_key="meter")
    CatalogMeter.objects.create(usage_type="ST", event_name="impressions_st", stripe_meter_id=meter.id)
    product = gateway.create_product(name="ST", metadata={"kind": "ST"}, idempotency_key="product")
    CatalogProduct.objects.create(kind="ST", name="ST", stripe_product_id=product.id)
    tiers = [
        PriceTier(up_to=100_000, unit_amount_decimal=Decimal("0.2")),
        PriceTier(up_to=None, unit_amount_decimal=Decimal("0.1")),
    ]
    price = gateway.create_graduated_price(
        product=product.id, currency="usd", meter=meter.id, tiers=tiers, lookup_key="st", nickname="ST",
        metadata={}, idempotency_key="price",
    )  # fmt: skip
    clock = gateway.create_test_clock(frozen_at=OCTOBER.start_at, name="October")
    local = ClockFactory.create(stripe_test_clock_id=clock.id, frozen_at=OCTOBER.start_at)
    customer = gateway.create_customer(
        name="Example", email="a@example.com", address=None, metadata={}, test_clock=clock.id,
        idempotency_key="customer",
    )  # fmt: skip
    account = AccountFactory.create(id=5001, test_clock=local, stripe_customer_id=customer.id)
    make_tiers(account, "ST", (100_000, "0.2"), (None, "0.1"))
    for period in ("2026-10", "2026-11"):
        BillingLeaseFactory.create(account=account, period=period)
    is_inclusive = getattr(request, "param", False)
    rate = call("post", "/v1/tax_rates", {"display_name": "VAT", "percentage": 10, "inclusive": is_inclusive})
    call(
        "post",
        "/v1/subscriptions",
        {
            "customer": customer.id,
            "items": [{"price": price.id}],
            "collection_method": "send_invoice",
            "days_until_due": 30,
            "default_tax_rates": [rate["id"]],
        },
    )
    declare_complete(period=OCTOBER, account_ids=[5001], actor="key", now=NOW)
    advance(OCTOBER.end_at - timedelta(minutes=30))
    return account


def advance(to: datetime) -> None:
    """Move the customer's clock, and take in what Stripe tells of it."""
    clock = TestClock.objects.get()
    gateway.advance_test_clock(clock.stripe_test_clock_id, to=to)
    assert gateway.get_test_clock(clock.stripe_test_clock_id).status == "ready"
    TestClock.objects.update(frozen_at=to)
    take_webhooks()


def take_webhooks() -> None:
    backfill_events(since=OCTOBER.start_at, now=OCTOBER.start_at + timedelta(days=1))
    drain_inbox(seconds=30)


def tell(quantity: int, reason: str = "") -> None:
    record = make_input(5001, "2026-10-30", "ST", quantity, reason)
    store_usage(records=[record], author="key", now=NOW)
    roll_up_usage()
    send_meter_events()


def approve_the_only_one() -> TrueUp:
    true_up = TrueUp.objects.get(state="proposed")
    approve_true_up(true_up_id=true_up.pk, actor="ann", reason="agreed with the customer", now=NOW)
    assert work_true_up(true_up.pk) == "settled"
    true_up.refresh_from_db()
    return true_up


def read_october() -> list[tuple[str, int, int, Decimal | None]]:
    ledger = read_stripe_ledger(period=OCTOBER, payer_ids=[5001])
    lines = ledger[5001, "usd"].lines
    return sorted(
        (line.kind, line.amount_minor, line.quantity, line.unit_amount_decimal)
        for line in lines
        if line.quantity or line.amount_minor
    )


def test_late_usage_is_on_the_next_invoice_and_in_october(account):
    tell(90_000)
    advance(OCTOBER.end_at + timedelta(hours=2))
    assert [row[1] for row in read_october()] == [18_000]

    tell(120_000, reason="a server's log was found")
    assert set(MeterEvent.objects.values_list("state", flat=True)) == {"sent", "pending"}
    assert propose() == {"payers": 1, "proposed": 1, "free": 0}
    # 10,000 more at 0.2 cents and 20,000 at 0.1.
    true_up = approve_the_only_one()
    assert (true_up.units, true_up.amount_minor) == (30_000, 4_000)
    assert set(MeterEvent.objects.values_list("state", flat=True)) == {"sent", "skipped"}

    advance(Period(2026, 11).end_at + timedelta(hours=2))
    line = StripeInvoiceLine.objects.get(invoice_item=true_up.stripe_object_id)
    assert (line.kind, line.account_id, line.amount_minor) == ("ST", 5001, 4_000)
    assert (line.period_start, line.period_end) == (OCTOBER.start_at, OCTOBER.end_at)
    assert read_october() == [
        ("ST", 2_000, 20_000, Decimal("0.1")),
        ("ST", 20_000, 100_000, Decimal("0.2")),
    ]
    assert propose() == {"payers": 0, "proposed": 0, "free": 0}


@pytest.mark.parametrize("is_paid", [False, True])
def test_too_much_usage_is_credited_on_october_s_invoice(account, is_paid):
    tell(120_000)
    advance(OCTOBER.end_at + timedelta(hours=2))
    invoice = next(gateway.list_invoices(customer=account.stripe_customer_id))
    assert (invoice.status, invoice.total_minor) == ("open", 24_200)
    if is_paid:
        call("post", f"/v1/invoices/{invoice.id}/pay", {"paid_out_of_band": True})
        take_webhooks()

    tell(90_000, reason="double counted")
    assert propose() == {"payers": 1, "proposed": 1, "free": 0}
    true_up = approve_the_only_one()

    assert (true_up.amount_minor, true_up.credited_invoice_id) == (-4_000, invoice.id)
    (note,) = gateway.list_credit_notes(invoice.id)
    assert (note.id, note.total_minor, note.total_tax_minor) == (true_up.stripe_object_id, 4_400, 400)
    assert (note.pre_payment_minor, note.post_payment_minor) == ((0, 4_400) if is_paid else (4_400, 0))
    take_webhooks()
    lines = StripeCreditNoteLine.objects.order_by("amount_minor")
    assert {(line.kind, line.account_id, line.amount_minor, line.tax_minor) for line in lines} == {
        ("ST", 5001, 2_000, 200)
    }
    assert read_october() == [("ST", 18_000, 90_000, Decimal("0.2"))]


@pytest.mark.parametrize("account", [True], indirect=True)
def test_with_the_tax_in_the_price_its_share_goes_back_with_it(account):
    tell(120_000)
    advance(OCTOBER.end_at + timedelta(hours=2))
    invoice = next(gateway.list_invoices(customer=account.stripe_customer_id))
    assert (invoice.total_minor, invoice.inclusive_tax_minor) == (22_000, 2_000)
    call("post", f"/v1/invoices/{invoice.id}/pay", {"paid_out_of_band": True})
    take_webhooks()

    tell(90_000, reason="double counted")
    propose()
    true_up = approve_the_only_one()

    # 20.00 of each tier, and 1.82 of tax in each: the balance gets what was paid and not a cent more.
    (note,) = gateway.list_credit_notes(invoice.id)
    assert (true_up.amount_minor, note.total_minor, note.post_payment_minor) == (-4_000, 4_000, 4_000)
    assert (note.total_tax_minor, note.inclusive_tax_minor) == (364, 364)
    take_webhooks()
    # 180.00 hold 16.36: of 200.00 it was 18.18, of which 1.82 went back.
    assert read_october() == [("ST", 16_364, 90_000, Decimal("0.181818181818"))]
