"""A subscription's months: what is invoiced, when, and how it is settled. Amounts are worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.sandbox.billing_world import World, at, lines_of
from tests.sandbox.process import SandboxProcess


@pytest.fixture
def world(sandbox: SandboxProcess) -> World:
    return World(sandbox, at(2026, 10, 1))


def test_a_month_from_usage_to_a_paid_invoice(world: World) -> None:
    customer = world.customer()
    price = world.metered(world.meter(), (1_000, "0"), (5_000, "0.1234567"), ("inf", "0.05"))
    subscription = world.subscribe(customer, world.licensed(9_900), price)
    assert subscription.status == "active"
    first = world.latest(customer)
    assert (first.status, first.billing_reason, first.total) == ("paid", "subscription_create", 9_900)
    assert lines_of(first) == [(1, 9_900), (0, 0)]

    world.v1.invoice_items.create(
        {"customer": customer.id, "amount": 1_234, "currency": "usd", "description": "Managed service"}
    )
    world.advance(at(2026, 10, 31, 23, 30))
    world.use(customer, 6_999, at(2026, 10, 12))
    world.use(customer, 1, at(2026, 10, 31, 23, 29))
    world.advance(at(2026, 11, 1, 2))

    invoice = world.latest(customer)
    assert (invoice.status, invoice.billing_reason) == ("paid", "subscription_cycle")
    assert lines_of(invoice) == [(1, 1_234), (1, 9_900), (1_000, 0), (4_000, 494), (2_000, 100)]
    assert (invoice.subtotal, invoice.total, invoice.amount_paid, invoice.amount_remaining) == (
        11_728,
        11_728,
        11_728,
        0,
    )
    assert invoice.parent
    assert invoice.parent.subscription_details
    assert invoice.parent.subscription_details.subscription == subscription.id
    periods = [(line.period.start, line.period.end) for line in invoice.lines.data]
    assert periods[0] == (at(2026, 10, 1), at(2026, 10, 1))
    assert periods[1] == (at(2026, 11, 1), at(2026, 12, 1))
    assert set(periods[2:]) == {(at(2026, 10, 1), at(2026, 11, 1))}
    assert invoice.created == at(2026, 11, 1)
    assert invoice.status_transitions.finalized_at == at(2026, 11, 1, 1)
    assert invoice.number == f"{customer.invoice_prefix}-0002"


def test_the_draft_hour_still_counts_usage_of_the_ended_period(world: World) -> None:
    customer = world.customer()
    world.subscribe(customer, world.metered(world.meter(), (100, "2"), ("inf", "1")))
    world.advance(at(2026, 11, 1, 0, 30))
    draft = world.latest(customer)
    assert (draft.status, draft.total, lines_of(draft)) == ("draft", 0, [(0, 0)])
    assert draft.automatically_finalizes_at == at(2026, 11, 1, 1)
    world.use(customer, 150, at(2026, 10, 31, 23, 59))
    world.use(customer, 7, at(2026, 11, 1))
    world.advance(at(2026, 11, 1, 1))
    invoice = world.v1.invoices.retrieve(draft.id)
    assert (invoice.status, lines_of(invoice)) == ("paid", [(100, 200), (50, 50)])
    assert invoice.lines.data[0].id == draft.lines.data[0].id
    world.advance(at(2026, 12, 1, 1))
    assert lines_of(world.latest(customer)) == [(7, 14)]


def test_a_held_draft_waits_for_us(world: World) -> None:
    customer = world.customer()
    world.subscribe(customer, world.licensed())
    world.advance(at(2026, 11, 1, 0, 30))
    draft = world.latest(customer)
    world.v1.invoices.update(draft.id, {"auto_advance": False})
    world.advance(at(2026, 11, 20))
    held = world.v1.invoices.retrieve(draft.id)
    assert (held.status, held.automatically_finalizes_at) == ("draft", None)
    assert world.v1.invoices.finalize_invoice(draft.id).status == "open"
    assert world.v1.invoices.pay(draft.id).status == "paid"


@pytest.mark.parametrize("amount", ["0.4", "0.49"])
def test_a_total_below_the_minimum_is_paid_and_carried(world: World, amount: str) -> None:
    customer = world.customer()
    world.subscribe(customer, world.metered(world.meter(), ("inf", amount)))
    world.use(customer, 100, at(2026, 10, 1))
    world.advance(at(2026, 11, 1, 2))
    invoice = world.latest(customer)
    small = {"0.4": 40, "0.49": 49}[amount]
    assert (invoice.status, invoice.total, invoice.amount_due, invoice.amount_paid) == ("paid", small, 0, 0)
    assert (invoice.starting_balance, invoice.ending_balance) == (0, small)
    assert world.v1.customers.retrieve(customer.id).balance == small
    world.use(customer, 100, at(2026, 11, 1, 2))
    world.advance(at(2026, 12, 1, 2))
    following = world.latest(customer)
    assert (following.total, following.amount_due, following.amount_paid) == (small, 2 * small, 2 * small)
    assert (following.starting_balance, following.ending_balance) == (small, 0)


def test_yen_have_no_minor_unit(world: World) -> None:
    customer = world.customer()
    price = world.metered(world.meter(), (1_000, "0.5"), ("inf", "0.25"), currency="jpy")
    world.subscribe(customer, world.licensed(5_000, "jpy"), price)
    world.use(customer, 1_003, at(2026, 10, 1))
    world.advance(at(2026, 11, 1, 2))
    invoice = world.latest(customer)
    assert (invoice.currency, lines_of(invoice)) == ("jpy", [(1, 5_000), (1_000, 500), (3, 1)])  # 0.75 -> 1
    assert invoice.lines.data[1].description == "1000 × Delivery (Tier 1 at ¥0.5 / month)"


def test_a_negative_month_bills_nothing(world: World) -> None:
    customer = world.customer()
    world.subscribe(customer, world.metered(world.meter(), ("inf", "10")))
    world.use(customer, 5, at(2026, 10, 1))
    world.use(customer, -8, at(2026, 10, 1))
    world.advance(at(2026, 11, 1, 2))
    assert lines_of(world.latest(customer)) == [(0, 0)]


@pytest.mark.parametrize(("formula", "quantity"), [("sum", 12), ("count", 3), ("last", 2)])
def test_meters_aggregate_by_their_formula(world: World, formula: str, quantity: int) -> None:
    customer = world.customer()
    world.subscribe(customer, world.metered(world.meter(formula=formula), ("inf", "100")))
    world.advance(at(2026, 10, 20))
    for day, value in ((3, 7), (17, 2), (9, 3)):
        world.use(customer, value, at(2026, 10, day))
    world.advance(at(2026, 11, 1, 2))
    assert lines_of(world.latest(customer)) == [(quantity, quantity * 100)]


def test_the_31st_falls_back_and_returns(sandbox: SandboxProcess) -> None:
    world = World(sandbox, at(2027, 1, 31, 12))
    customer = world.customer()
    world.subscribe(customer, world.licensed(3_100))
    for moment in (at(2027, 2, 28, 14), at(2027, 3, 31, 14), at(2027, 4, 30, 14)):
        world.advance(moment)
    created = [invoice.created for invoice in world.invoices(customer)]
    assert created == [at(2027, 1, 31, 12), at(2027, 2, 28, 12), at(2027, 3, 31, 12), at(2027, 4, 30, 12)]
    assert {invoice.total for invoice in world.invoices(customer)} == {3_100}


def test_a_leap_february(sandbox: SandboxProcess) -> None:
    world = World(sandbox, at(2028, 2, 15))
    customer = world.customer()
    subscription = world.subscribe(customer, world.licensed(10_000), billing_cycle_anchor=at(2028, 3, 1))
    assert lines_of(world.latest(customer)) == [(1, 5_172)]  # 15 of 29 days
    item = subscription["items"].data[0]
    assert (item.current_period_start, item.current_period_end) == (at(2028, 2, 15), at(2028, 3, 1))
    world.advance(at(2028, 3, 1, 2))
    assert lines_of(world.latest(customer)) == [(1, 10_000)]


@pytest.mark.parametrize(
    ("params", "lines"),
    [
        ({"billing_cycle_anchor": at(2026, 11, 1)}, [(1, 5_429)]),
        ({"billing_cycle_anchor": at(2026, 11, 1), "proration_behavior": "none"}, [(1, 0)]),
        ({"billing_cycle_anchor": at(2026, 11, 1), "backdate_start_date": at(2026, 10, 1)}, [(1, 9_900)]),
        (
            {"billing_cycle_anchor": at(2026, 11, 1), "backdate_start_date": at(2026, 8, 15)},
            [(1, 25_229)],
        ),  # 2 + 17/31
        (
            {"backdate_start_date": at(2026, 10, 1)},
            [(1, 4_620), (1, 9_900)],
        ),  # 14/30 since 1 October, then a full month
        (
            {"billing_cycle_anchor_config": {"day_of_month": 1, "hour": 0, "minute": 0, "second": 0}},
            [(1, 5_429)],
        ),
        ({}, [(1, 9_900)]),
    ],
)
def test_the_first_period(
    sandbox: SandboxProcess, params: dict[str, object], lines: list[tuple[int, int]]
) -> None:
    world = World(sandbox, at(2026, 10, 15))
    customer = world.customer()
    world.subscribe(customer, world.licensed(9_900), **params)
    assert lines_of(world.latest(customer)) == lines


def test_an_anchor_after_the_next_natural_date_is_refused(world: World) -> None:
    customer = world.customer()
    with pytest.raises(stripe.InvalidRequestError, match="next natural billing date") as refused:
        world.subscribe(customer, world.licensed(), billing_cycle_anchor=at(2026, 11, 2))
    assert refused.value.param == "billing_cycle_anchor"


def test_a_trial_is_free_and_announces_its_end(world: World) -> None:
    customer = world.customer()
    price = world.metered(world.meter(), ("inf", "100"))
    subscription = world.subscribe(customer, world.licensed(), price, trial_period_days=14)
    assert (subscription.status, world.latest(customer).total) == ("trialing", 0)
    world.use(customer, 5, at(2026, 10, 1))
    world.advance(at(2026, 10, 15, 2))
    invoice = world.latest(customer)
    assert lines_of(invoice) == [(1, 9_900), (5, 0)]
    assert world.v1.subscriptions.retrieve(subscription.id).status == "active"
    notice = world.sandbox.events("customer.subscription.trial_will_end")
    assert [event.created for event in notice] == [at(2026, 10, 12)]


def test_sent_invoices_stay_open_until_paid_elsewhere(world: World) -> None:
    customer = world.customer(card=None)
    subscription = world.subscribe(
        customer, world.licensed(), collection_method="send_invoice", days_until_due=14
    )
    assert subscription.status == "active"
    world.advance(at(2026, 10, 1, 2))
    invoice = world.latest(customer)
    assert (invoice.status, invoice.due_date, invoice.attempt_count) == ("open", at(2026, 10, 15), 0)
    world.advance(at(2026, 10, 16))
    assert world.v1.subscriptions.retrieve(subscription.id).status == "past_due"
    paid = world.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    assert (paid.status, paid.amount_paid, paid.amount_remaining) == ("paid", 9_900, 0)
    assert world.v1.subscriptions.retrieve(subscription.id).status == "active"
    assert {"invoice.sent", "invoice.overdue"} <= set(world.sandbox.event_types())


def test_a_declined_renewal_is_tried_again_and_then_gives_up(world: World) -> None:
    customer = world.customer()
    subscription = world.subscribe(customer, world.licensed())
    card = world.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer.id})
    world.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": card.id}})
    world.advance(at(2026, 11, 1, 2))
    invoice = world.latest(customer)
    assert (invoice.status, invoice.attempt_count, invoice.amount_remaining) == ("open", 1, 9_900)
    assert invoice.next_payment_attempt == at(2026, 11, 4, 1)
    assert world.v1.subscriptions.retrieve(subscription.id).status == "past_due"
    world.advance(at(2026, 11, 17))
    invoice = world.v1.invoices.retrieve(invoice.id)
    assert (invoice.attempt_count, invoice.next_payment_attempt) == (4, None)
    assert world.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    assert len(world.sandbox.events("invoice.payment_failed")) == 4
    assert len(world.v1.invoice_payments.list({"invoice": invoice.id}).data) == 1


def test_a_new_card_brings_a_past_due_subscription_back(world: World) -> None:
    customer = world.customer("pm_card_chargeCustomerFail")
    with pytest.raises(stripe.CardError):
        world.subscribe(customer, world.licensed(), payment_behavior="error_if_incomplete")
    assert world.v1.subscriptions.list({"customer": customer.id, "status": "all"}).data == []
    subscription = world.subscribe(customer, world.licensed())
    assert subscription.status == "incomplete"
    invoice = world.latest(customer)
    card = world.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    assert world.v1.invoices.pay(invoice.id, {"payment_method": card.id}).status == "paid"
    assert world.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_an_incomplete_subscription_expires(world: World) -> None:
    customer = world.customer("pm_card_chargeCustomerFail")
    subscription = world.subscribe(customer, world.licensed())
    world.advance(at(2026, 10, 2))
    assert world.v1.subscriptions.retrieve(subscription.id).status == "incomplete_expired"
    assert world.latest(customer).status == "void"


def test_nothing_to_charge_is_refused_at_once(world: World) -> None:
    customer = world.customer(card=None)
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        world.subscribe(customer, world.licensed())
    assert world.invoices(customer) == []
    assert world.subscribe(customer, world.metered(world.meter(), ("inf", "1"))).status == "active"


def test_numbers_run_without_gaps_per_customer(world: World) -> None:
    first, second = world.customer(), world.customer()
    price = world.licensed()
    for customer in (first, second, first):
        world.subscribe(customer, price)
    world.advance(at(2026, 11, 1, 2))
    for customer, count in ((first, 4), (second, 2)):
        numbers = [invoice.number for invoice in world.invoices(customer)]
        assert numbers == [f"{customer.invoice_prefix}-{n:04d}" for n in range(1, count + 1)]


def test_events_of_a_period_end_tell_what_changed(world: World) -> None:
    customer = world.customer()
    subscription = world.subscribe(customer, world.licensed())
    before = len(world.sandbox.events())
    world.advance(at(2026, 11, 1, 2))
    events = world.sandbox.events()[before:]
    assert [event.type for event in events] == [
        "test_helpers.test_clock.advancing",
        "invoice.created",
        "customer.subscription.updated",
        "invoice.finalized",
        "invoice.updated",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice_payment.paid",
        "invoice.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
        "test_helpers.test_clock.ready",
    ]
    created = {event.type: event.created for event in events}
    assert (created["invoice.created"], created["invoice.finalized"]) == (at(2026, 11, 1), at(2026, 11, 1, 1))
    updated = events[2].data.to_dict()
    assert updated["previous_attributes"]["latest_invoice"] == subscription.latest_invoice
    assert updated["object"]["items"]["data"][0]["current_period_start"] == at(2026, 11, 1)
    finalized = events[3].data.to_dict()["object"]
    assert (finalized["status"], finalized["number"]) == ("open", f"{customer.invoice_prefix}-0002")


def test_a_customer_confirms_the_first_payment_itself(world: World) -> None:
    customer = world.customer(card=None)
    subscription = world.subscribe(
        customer,
        world.licensed(),
        payment_behavior="default_incomplete",
        expand=["latest_invoice.confirmation_secret"],
    )
    assert subscription.status == "incomplete"
    invoice = subscription.latest_invoice
    assert isinstance(invoice, stripe.Invoice)
    assert invoice.confirmation_secret
    intent_id = invoice.confirmation_secret.client_secret.partition("_secret_")[0]
    intent = world.v1.payment_intents.confirm(intent_id, {"payment_method": "pm_card_visa"})
    assert (intent.status, intent.amount_received) == ("succeeded", 9_900)
    assert world.latest(customer).status == "paid"
    assert world.v1.subscriptions.retrieve(subscription.id).status == "active"


@pytest.mark.parametrize(
    ("behavior", "status"),
    [("keep_as_draft", "draft"), ("void", "void"), ("mark_uncollectible", "uncollectible")],
)
def test_paused_collection(world: World, behavior: str, status: str) -> None:
    customer = world.customer()
    subscription = world.subscribe(customer, world.licensed())
    change: Any = {"pause_collection": {"behavior": behavior, "resumes_at": at(2026, 11, 15)}}
    world.v1.subscriptions.update(subscription.id, change)
    world.advance(at(2026, 11, 20))
    assert world.latest(customer).status == status
    assert world.v1.subscriptions.retrieve(subscription.id).pause_collection is None
    world.advance(at(2026, 12, 1, 2))
    assert world.latest(customer).status == "paid"


def test_a_trial_can_end_now_or_later(world: World) -> None:
    customer = world.customer()
    subscription = world.subscribe(customer, world.licensed(3_000), trial_period_days=10)
    later = world.v1.subscriptions.update(subscription.id, {"trial_end": at(2026, 10, 21)})
    assert (later.trial_end, later["items"].data[0].current_period_end) == (
        at(2026, 10, 21),
        at(2026, 10, 21),
    )
    world.advance(at(2026, 10, 15))
    assert world.v1.subscriptions.retrieve(subscription.id).status == "trialing"
    ended = world.v1.subscriptions.update(subscription.id, {"trial_end": "now"})
    assert (ended.status, ended.billing_cycle_anchor) == ("active", at(2026, 10, 15))
    assert (world.latest(customer).status, lines_of(world.latest(customer))) == ("paid", [(1, 3_000)])


def test_a_mid_month_anchor_reset_credits_and_restarts(world: World) -> None:
    customer = world.customer()
    subscription = world.subscribe(customer, world.licensed(3_100))
    world.advance(at(2026, 10, 11))
    world.v1.subscriptions.update(subscription.id, {"billing_cycle_anchor": "now"})
    assert lines_of(world.latest(customer)) == [(1, -2_100), (1, 3_100)]
    assert world.v1.subscriptions.retrieve(subscription.id)["items"].data[0].current_period_end == at(
        2026, 11, 11
    )
