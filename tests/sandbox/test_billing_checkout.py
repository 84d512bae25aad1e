"""Checkout, the portal and the limits of test clocks."""

from __future__ import annotations

import time
from typing import Any

import pytest
import stripe

from tests.sandbox.billing_world import World, at
from tests.sandbox.process import SandboxProcess


@pytest.fixture
def world(sandbox: SandboxProcess) -> World:
    return World(sandbox, at(2026, 10, 1))


def complete(world: World, session_id: str, **body: Any) -> Any:
    return world.sandbox.request("POST", f"/_sandbox/checkout/sessions/{session_id}/complete", json_body=body)


def test_a_setup_session_saves_a_card(world: World) -> None:
    customer = world.customer(card=None)
    session = world.v1.checkout.sessions.create(
        {
            "mode": "setup",
            "customer": customer.id,
            "success_url": "https://app.example.com/done",
            "currency": "usd",
        }
    )
    assert (session.status, session.url is not None, session.payment_status) == (
        "open",
        True,
        "no_payment_required",
    )
    done = complete(world, session.id)
    assert (done.status, done.body["status"], done.body["url"]) == (200, "complete", None)
    intent = world.v1.setup_intents.retrieve(done.body["setup_intent"])
    assert (intent.status, intent.customer) == ("succeeded", customer.id)
    assert len(world.v1.customers.payment_methods.list(customer.id).data) == 1
    assert complete(world, session.id).status == 400
    events = [event.type for event in world.sandbox.events()]
    assert events[-1] == "checkout.session.completed"


def test_a_subscription_session_starts_the_subscription(world: World) -> None:
    price = world.licensed(4_200)
    session = world.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "customer_email": "new@example.com",
            "success_url": "https://app.example.com/done",
            "line_items": [{"price": price.id, "quantity": 2}],
            "subscription_data": {"metadata": {"account": "7"}},
            "expand": ["line_items"],
        }
    )
    assert session.line_items
    assert (session.amount_total, session.line_items.data[0].quantity) == (8_400, 2)
    declined = complete(world, session.id, payment_method="pm_card_chargeCustomerFail")
    assert declined.status == 402
    assert world.v1.checkout.sessions.retrieve(session.id).status == "open"
    done = complete(world, session.id, payment_method="pm_card_visa")
    assert done.status == 200, done.body
    subscription = world.v1.subscriptions.retrieve(done.body["subscription"])
    assert (subscription.status, subscription.metadata["account"]) == ("active", "7")
    assert (done.body["payment_status"], done.body["customer_details"]["email"]) == (
        "paid",
        "new@example.com",
    )
    assert world.v1.invoices.retrieve(done.body["invoice"]).amount_paid == 8_400


def test_sessions_expire(world: World) -> None:
    customer = world.customer(card=None)
    params: Any = {"mode": "setup", "customer": customer.id, "currency": "usd"}
    session = world.v1.checkout.sessions.create(params)
    assert world.v1.checkout.sessions.expire(session.id).status == "expired"
    assert complete(world, session.id).status == 400
    soon = world.v1.checkout.sessions.create(params | {"expires_at": int(time.time()) + 1})
    world.sandbox.wait_for(
        lambda: world.v1.checkout.sessions.retrieve(soon.id).status == "expired", timeout=60
    )
    assert len(world.sandbox.events("checkout.session.expired")) == 2


def test_a_portal_session(world: World) -> None:
    customer = world.customer(card=None)
    session = world.v1.billing_portal.sessions.create(
        {"customer": customer.id, "return_url": "https://app.example.com/account"}
    )
    assert session.url.startswith("https://")
    own = world.v1.billing_portal.configurations.create({"features": {"invoice_history": {"enabled": True}}})
    assert (own.is_default, own.features.invoice_history.enabled) == (False, True)
    chosen = world.v1.billing_portal.sessions.create({"customer": customer.id, "configuration": own.id})
    assert chosen.configuration == own.id


def test_a_clock_takes_three_customers_and_two_intervals(world: World) -> None:
    customers = [world.customer() for _ in range(3)]
    with pytest.raises(stripe.InvalidRequestError, match="limit of 3 customers"):
        world.customer()
    assert len(world.v1.customers.list({"test_clock": world.clock.id}).data) == 3
    world.subscribe(customers[0], world.licensed())
    with pytest.raises(stripe.InvalidRequestError, match="two intervals"):
        world.advance(at(2026, 12, 1, 1))
    world.advance(at(2026, 12, 1))
    with pytest.raises(stripe.InvalidRequestError, match="later"):
        world.advance(at(2026, 12, 1))
    assert [one.created for one in world.invoices(customers[0])] == [
        at(2026, 10, 1), at(2026, 11, 1), at(2026, 12, 1)
    ]  # fmt: skip
    assert world.v1.test_helpers.test_clocks.delete(world.clock.id).deleted
    assert world.v1.customers.retrieve(customers[0].id).deleted
    assert "customer.subscription.deleted" in world.sandbox.event_types()


def test_an_advance_goes_on_after_the_power_failed(tmp_path: Any) -> None:
    state = str(tmp_path / "state.sqlite3")
    first = SandboxProcess.start("--state", state)
    try:
        world = World(first, at(2026, 10, 1))
        customers = [world.customer() for _ in range(3)]
        for customer in customers:
            world.subscribe(customer, *[world.licensed(100 * n) for n in range(1, 6)])
        world.v1.test_helpers.test_clocks.advance(world.clock.id, {"frozen_time": at(2026, 12, 1)})
    finally:
        first.kill()
    second = SandboxProcess.start("--state", state)
    try:
        world.sandbox, world.v1 = second, second.client.v1
        second.wait_for(lambda: world.v1.test_helpers.test_clocks.retrieve(world.clock.id).status == "ready")
        for customer in customers:
            assert [one.total for one in world.invoices(customer)] == [1_500, 1_500, 1_500]
            numbers = [one.number for one in world.invoices(customer)]
            assert numbers == [f"{customer.invoice_prefix}-0001", f"{customer.invoice_prefix}-0002", None]
    finally:
        second.kill()


def test_sixty_customers_turn_the_month_in_seconds(world: World) -> None:
    prices = [world.licensed(9_900)]
    prices += [world.metered(world.meter(name), (1_000, "0"), ("inf", "0.25")) for name in ("st", "rm", "cv")]
    clocks = [
        world.v1.test_helpers.test_clocks.create({"frozen_time": at(2026, 10, 1)}).id for _ in range(20)
    ]
    started = time.perf_counter()
    for clock in clocks:
        for _ in range(3):
            world.subscribe(world.customer(test_clock=clock), *prices)
    subscribed = time.perf_counter()
    for clock in clocks:
        world.v1.test_helpers.test_clocks.advance(clock, {"frozen_time": at(2026, 11, 1, 2)})
    for clock in clocks:
        world.sandbox.wait_for(
            lambda clock=clock: world.v1.test_helpers.test_clocks.retrieve(clock).status == "ready"
        )
    # Two seconds each on a quiet machine; a busy one slows both.
    assert time.perf_counter() - subscribed < 10 * (subscribed - started)
    paid = world.v1.invoices.list({"status": "paid", "limit": 100}).auto_paging_iter()
    assert sum(1 for invoice in paid if invoice.billing_reason == "subscription_cycle") == 60
