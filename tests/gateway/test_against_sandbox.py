"""Every function of the gateway against the sandbox: the parameters pass its check, the answers parse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing_worker import gateway
from billing_worker.gateway import Address, PriceTier, SubscriptionItemSpec

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("sandbox")


def make_customer(**changes) -> gateway.Customer:
    options = {
        "name": "Example Ltd",
        "email": "billing@example.com",
        "address": Address(line1="1 Example Street", city="Springfield", country="US"),
        "metadata": {"account_id": "5001"},
        "idempotency_key": f"customer-{changes.get('name', 'example')}",
        **changes,
    }
    return gateway.create_customer(**options)


def make_prices() -> tuple[gateway.Price, gateway.Price]:
    meter = gateway.create_meter(event_name="impressions_st", display_name="ST", idempotency_key="m")
    fee = gateway.create_product(name="Platform fee", metadata={"kind": "sub"}, idempotency_key="p1")
    usage = gateway.create_product(name="Impressions", metadata={"kind": "ST"}, idempotency_key="p2")
    flat = gateway.create_flat_price(
        product=fee.id,
        currency="usd",
        unit_amount_decimal=Decimal("49900"),
        lookup_key="flat_usd_49900",
        nickname="Essential",
        metadata={"kind": "sub"},
        idempotency_key="flat",
    )
    tiered = gateway.create_graduated_price(
        product=usage.id,
        currency="usd",
        meter=meter.id,
        tiers=[
            PriceTier(up_to=1000, unit_amount_decimal=Decimal(0)),
            PriceTier(up_to=5000, unit_amount_decimal=Decimal("0.05")),
            PriceTier(up_to=None, unit_amount_decimal=Decimal("0.025")),
        ],
        lookup_key="tiers_st_usd_1",
        nickname="ST tiers",
        metadata={"kind": "ST"},
        idempotency_key="tiers",
    )
    return flat, tiered


def test_customers() -> None:
    customer = make_customer(preferred_locales=["de"])
    assert customer.address == Address(line1="1 Example Street", city="Springfield", country="US")
    assert customer.preferred_locales == ("de",)
    assert gateway.get_customer(customer.id) == customer
    changed = gateway.update_customer(customer.id, name="Example Inc", metadata={"plan": "b"})
    assert (changed.name, changed.email) == ("Example Inc", "billing@example.com")
    assert changed.metadata == {"account_id": "5001", "plan": "b"}
    paying = gateway.attach_payment_method(customer=customer.id, payment_method="pm_card_visa")
    assert paying.default_payment_method
    with pytest.raises(gateway.GatewayNotFound):
        gateway.get_customer("cus_none")


def test_the_same_idempotency_key_makes_one_customer() -> None:
    assert make_customer().id == make_customer().id
    with pytest.raises(gateway.GatewayRejected):
        make_customer(email="other@example.com")


def test_catalog() -> None:
    flat, tiered = make_prices()
    assert (flat.unit_amount_decimal, flat.usage_type, flat.tiers) == (Decimal(49900), "licensed", ())
    assert [(tier.up_to, tier.unit_amount_decimal) for tier in tiered.tiers] == [
        (1000, Decimal(0)),
        (5000, Decimal("0.05")),
        (None, Decimal("0.025")),
    ]
    [meter] = gateway.list_meters()
    assert (tiered.meter, tiered.usage_type, tiered.tiers_mode) == (meter.id, "metered", "graduated")
    assert {product.metadata["kind"] for product in gateway.list_products()} == {"sub", "ST"}
    assert gateway.list_prices(lookup_keys=["tiers_st_usd_1"]) == [tiered]
    assert {price.id for price in gateway.list_prices()} == {flat.id, tiered.id}
    # More than Stripe takes at once.
    assert gateway.list_prices(lookup_keys=[*(f"none_{n}" for n in range(25)), "flat_usd_49900"]) == [flat]
    assert not gateway.archive_price(flat.id).is_active
    assert [price.id for price in gateway.list_prices(active=True)] == [tiered.id]
    assert gateway.update_product(flat.product, name="Fee").name == "Fee"


def test_a_month_from_subscription_to_paid_invoice() -> None:
    flat, tiered = make_prices()
    clock = gateway.create_test_clock(frozen_at=OCTOBER, name="october")
    assert (clock.frozen_at, clock.status) == (OCTOBER, "ready")
    customer = make_customer(test_clock=clock.id, payment_method="pm_card_visa")
    assert customer.test_clock == clock.id
    subscription = gateway.create_subscription(
        customer=customer.id,
        items=[
            SubscriptionItemSpec(price=flat.id, quantity=2, metadata={"kind": "sub"}),
            SubscriptionItemSpec(price=tiered.id),
        ],
        billing_cycle_anchor=NOVEMBER,
        metadata={"account_id": "5001"},
        description="Example",
        idempotency_key="subscription",
    )
    assert subscription.status == "active"
    assert {(item.price, item.quantity) for item in subscription.items} == {(flat.id, 2), (tiered.id, None)}
    assert subscription.items[0].period_end == NOVEMBER
    assert gateway.get_subscription(subscription.id) == subscription
    assert gateway.list_subscriptions(customer.id) == [subscription]
    assert gateway.update_subscription_metadata(subscription.id, {"cohort": "1"}).metadata == {
        "account_id": "5001",
        "cohort": "1",
    }

    gateway.advance_test_clock(clock.id, to=NOVEMBER - timedelta(minutes=30))
    for day, value in ((5, 700), (6, 700), (7, -100)):
        gateway.send_meter_event(
            event_name="impressions_st",
            customer=customer.id,
            value=value,
            identifier=f"5001-{day}",
            at=datetime(2026, 10, day, 12, tzinfo=UTC),
        )
    with pytest.raises(gateway.DuplicateMeterEvent):
        gateway.send_meter_event(
            event_name="impressions_st",
            customer=customer.id,
            value=700,
            identifier="5001-5",
            at=datetime(2026, 10, 5, 12, tzinfo=UTC),
        )
    gateway.cancel_meter_event(event_name="impressions_st", identifier="5001-7")
    [meter] = gateway.list_meters()
    summaries = gateway.list_meter_event_summaries(
        meter=meter.id, customer=customer.id, start_at=OCTOBER, end_at=NOVEMBER
    )
    assert sum(summary.value for summary in summaries) == 1400

    item = gateway.create_invoice_item(
        customer=customer.id,
        amount_minor=123456,
        currency="usd",
        description="Managed service",
        period_start=OCTOBER,
        period_end=NOVEMBER,
        metadata={"kind": "managed", "account_id": "5001", "job_id": "9"},
        idempotency_key="job-9",
    )
    assert (item.amount_minor, item.period_start, item.invoice) == (123456, OCTOBER, None)
    # 400 impressions above the free thousand at 0.05 cents, the job, and November's fee twice.
    assert gateway.preview_invoice(customer=customer.id, subscription=subscription.id).total_minor == 223276

    gateway.advance_test_clock(clock.id, to=NOVEMBER + timedelta(hours=2))
    assert gateway.get_test_clock(clock.id).status == "ready"
    invoices = list(gateway.list_invoices(customer=customer.id))
    assert len(invoices) == 2
    november = invoices[0]
    assert november == gateway.get_invoice(november.id)
    assert (november.status, november.total_minor, november.amount_remaining_minor) == ("paid", 223276, 0)
    assert november.billing_reason == "subscription_cycle"
    assert november.subscription == subscription.id
    assert november.number
    assert november.finalized_at
    assert november.paid_at
    job = next(line for line in november.lines if line.invoice_item == item.id)
    assert (job.amount_minor, job.period_start, job.period_end) == (123456, OCTOBER, NOVEMBER)
    assert job.metadata["job_id"] == "9"
    used = [line for line in november.lines if line.price == tiered.id and line.amount_minor]
    assert [(line.quantity, line.amount_minor, line.unit_amount_decimal) for line in used] == [
        (400, 20, Decimal("0.05"))
    ]
    assert (used[0].period_start, used[0].product, used[0].subscription) == (
        OCTOBER,
        tiered.product,
        subscription.id,
    )
    assert list(gateway.list_invoices(created_from=NOVEMBER)) == [november]
    assert len(list(gateway.list_invoices(created_to=NOVEMBER))) == 1
    assert gateway.list_credit_notes(november.id) == []
    _credit_in_many_lines(november.id, job.id)
    assert gateway.cancel_subscription(subscription.id, prorate=False, invoice_now=False).status == "canceled"
    gateway.delete_test_clock(clock.id)
    with pytest.raises(gateway.GatewayNotFound):
        gateway.get_test_clock(clock.id)


def _credit_in_many_lines(invoice: str, line: str) -> None:
    """A paid invoice's credit note of more lines than one page holds goes to the customer's balance."""
    spec = gateway.CreditNoteLineSpec(invoice_line=line, amount_minor=2, metadata={"part": "one"})
    note = gateway.create_credit_note(
        invoice=invoice,
        lines=[spec] * 101,
        memo="Fewer hours",
        metadata={"true_up": "1"},
        credit_to_balance_minor=202,
        idempotency_key="credit-1",
    )
    assert (note.total_minor, note.post_payment_minor, note.refunded_minor) == (202, 202, 0)
    assert (len(note.lines), note.has_more_lines) == (101, False)
    assert {(part.invoice_line, part.amount_minor, part.metadata["part"]) for part in note.lines} == {
        (line, 2, "one")
    }
    assert gateway.list_credit_notes(invoice) == [note]
    assert gateway.get_credit_note(note.id) == note


def test_an_invoice_held_as_draft_and_finalized_by_us() -> None:
    flat, _ = make_prices()
    clock = gateway.create_test_clock(frozen_at=OCTOBER, name="draft")
    customer = make_customer(test_clock=clock.id)
    gateway.create_subscription(
        customer=customer.id,
        items=[SubscriptionItemSpec(price=flat.id, quantity=1)],
        collection_method="send_invoice",
        days_until_due=30,
        metadata={},
        idempotency_key="s",
    )
    gateway.advance_test_clock(clock.id, to=NOVEMBER)
    draft = next(iter(gateway.list_invoices(customer=customer.id)))
    assert draft.status == "draft"
    assert not gateway.set_auto_advance(draft.id, False).auto_advance
    for number in range(120):
        gateway.create_invoice_item(
            customer=customer.id,
            amount_minor=100 + number,
            currency="usd",
            description=f"Line {number}",
            period_start=OCTOBER,
            period_end=NOVEMBER,
            metadata={},
            invoice=draft.id,
            idempotency_key=f"line-{number}",
        )
    final = gateway.finalize_invoice(draft.id)
    assert final.status == "open"
    assert final.due_at == final.finalized_at + timedelta(days=30) if final.finalized_at else False
    assert len(final.lines) == 121, "more than one page of lines"
    assert not final.has_more_lines
    assert sum(line.amount_minor for line in final.lines) == final.total_minor == 49900 + 19140
    with pytest.raises(gateway.GatewayRejected):
        gateway.finalize_invoice(draft.id)


def test_events_and_endpoints() -> None:
    customer = make_customer()
    since = datetime.now(UTC) - timedelta(minutes=1)
    [event] = list(gateway.list_events(created_from=since, types=["customer.created"]))
    assert event["data"]["object"]["id"] == customer.id
    assert gateway.get_event(event["id"])["type"] == "customer.created"
    endpoint = gateway.create_webhook_endpoint(
        url="https://example.com/webhook/stripe", events=["invoice.paid"]
    )
    assert endpoint.secret is not None
    assert endpoint.secret.startswith("whsec_")
    [listed] = gateway.list_webhook_endpoints()
    assert (listed.url, listed.enabled_events, listed.secret) == (endpoint.url, ("invoice.paid",), None)
    assert gateway.read_payload(kind="customer", id=customer.id)["object"] == "customer"


def test_a_customer_s_tax_id_is_on_its_invoices():
    customer = make_customer(tax_ids=[gateway.TaxId(type="eu_vat", value="DE000000000")])
    gateway.create_invoice_item(
        customer=customer.id,
        amount_minor=1000,
        currency="usd",
        description="Work",
        period_start=OCTOBER,
        period_end=NOVEMBER,
        metadata={},
        idempotency_key="item",
    )
    preview = gateway.preview_invoice(customer=customer.id)
    assert preview.customer_tax_ids == (gateway.TaxId(type="eu_vat", value="DE000000000"),)
    assert preview.customer_tax_exempt == "none"


def test_the_attempts_behind_an_invoice_are_listed_with_their_reasons() -> None:
    flat, _ = make_prices()
    clock = gateway.create_test_clock(frozen_at=OCTOBER, name="dunning")
    customer = make_customer(
        name="Dunning Ltd", test_clock=clock.id, payment_method="pm_card_chargeCustomerFail"
    )
    gateway.create_subscription(
        customer=customer.id,
        items=[SubscriptionItemSpec(price=flat.id, quantity=1)],
        billing_cycle_anchor=NOVEMBER,
        description="Example",
        metadata={},
        idempotency_key="dunning",
    )
    (invoice,) = list(gateway.list_invoices(customer=customer.id))
    payments = gateway.list_invoice_payments(invoice.id)
    assert {(payment.status, payment.amount_paid_minor, payment.paid_at) for payment in payments} == {
        ("open", 0, None)
    }
    attempts = [attempt for payment in payments for attempt in payment.attempts]
    assert attempts
    assert {(one.status, one.currency, one.amount_minor) for one in attempts} == {
        ("failed", "usd", invoice.total_minor)
    }
    assert attempts[0].failure_code == "card_declined"
    assert attempts[0].last4 == "0341"
