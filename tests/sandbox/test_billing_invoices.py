"""Invoices by hand, previews, credit notes, balances, discounts and taxes. Amounts are worked out by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import stripe

from tests.sandbox.billing_world import World, at, lines_of
from tests.sandbox.process import SandboxProcess


@pytest.fixture
def world(sandbox: SandboxProcess) -> World:
    return World(sandbox, at(2026, 10, 1))


def item(world: World, customer: stripe.Customer, amount: int, **params: Any) -> stripe.InvoiceItem:
    given: Any = {
        "customer": customer.id,
        "amount": amount,
        "currency": "usd",
        "description": "Work",
        **params,
    }
    return world.v1.invoice_items.create(given)


def invoice(world: World, customer: stripe.Customer, *amounts: int, **params: Any) -> stripe.Invoice:
    for amount in amounts:
        item(world, customer, amount)
    given: Any = {"customer": customer.id, "pending_invoice_items_behavior": "include", **params}
    return world.v1.invoices.create(given)


def test_a_draft_by_hand_is_filled_finalized_and_paid(world: World) -> None:
    customer = world.customer()
    draft = invoice(world, customer, 1_000)
    assert (draft.status, draft.number, draft.auto_advance, lines_of(draft)) == (
        "draft",
        None,
        False,
        [(1, 1_000)],
    )
    item(world, customer, 250, invoice=draft.id)
    pending = item(world, customer, 9_999)
    found = world.v1.invoices.retrieve(draft.id)
    assert (found.total, len(found.lines.data)) == (1_250, 2)
    final = world.v1.invoices.finalize_invoice(draft.id)
    assert (final.status, final.number) == ("open", f"{customer.invoice_prefix}-0001")
    assert None not in (final.hosted_invoice_url, final.invoice_pdf)
    paid = world.v1.invoices.pay(draft.id, {"expand": ["payments"]})
    assert (paid.status, paid.amount_paid) == ("paid", 1_250)
    assert paid.payments
    assert paid.payments.data[0].payment.payment_intent
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        world.v1.invoices.pay(draft.id)
    waiting = world.v1.invoice_items.list({"customer": customer.id, "pending": True}).data
    assert [found.id for found in waiting] == [pending.id]


def test_paying_a_draft_finalizes_it(world: World) -> None:
    """What `stripe trigger invoice.paid` does."""
    draft = invoice(world, world.customer(), 2_000)
    assert world.v1.invoices.pay(draft.id).status == "paid"


def test_a_declined_payment_leaves_the_invoice_open(world: World) -> None:
    draft = invoice(world, world.customer("pm_card_chargeCustomerFail"), 2_000)
    with pytest.raises(stripe.CardError) as declined:
        world.v1.invoices.pay(draft.id)
    assert (declined.value.http_status, declined.value.code) == (402, "card_declined")
    found = world.v1.invoices.retrieve(draft.id)
    assert (found.status, found.attempted, found.attempt_count) == ("open", True, 1)
    assert "invoice.payment_failed" in world.sandbox.event_types()


def test_automatic_collection_of_an_invoice_by_hand(world: World) -> None:
    draft = invoice(world, world.customer(), 2_000, auto_advance=True)
    assert draft.automatically_finalizes_at == at(2026, 10, 1, 1)
    world.advance(at(2026, 10, 1, 1))
    assert world.v1.invoices.retrieve(draft.id).status == "paid"


def test_a_finalized_invoice_cannot_be_changed(world: World) -> None:
    customer = world.customer()
    draft = invoice(world, customer, 1_000)
    final = world.v1.invoices.finalize_invoice(draft.id)
    for change in ({"description": "x"}, {"footer": "x"}):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            world.v1.invoices.update(final.id, change)  # type: ignore[arg-type]
        assert refused.value.code == "invoice_not_editable"
    with pytest.raises(stripe.InvalidRequestError):
        item(world, customer, 1, invoice=final.id)
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.invoices.delete(final.id)
    world.v1.invoices.update(final.id, {"metadata": {"a": "b"}})
    assert world.v1.invoices.retrieve(final.id).to_dict()["metadata"] == {"a": "b"}


def test_a_deleted_draft_gives_its_items_back(world: World) -> None:
    customer = world.customer()
    draft = invoice(world, customer, 700)
    assert world.v1.invoices.delete(draft.id).deleted
    with pytest.raises(stripe.InvalidRequestError) as refused:
        world.v1.invoices.retrieve(draft.id)
    assert refused.value.http_status == 404
    assert lines_of(invoice(world, customer)) == [(1, 700)]


def test_void_and_uncollectible(world: World) -> None:
    customer = world.customer()
    world.v1.customers.balance_transactions.create(customer.id, {"amount": -300, "currency": "usd"})
    first = world.v1.invoices.finalize_invoice(invoice(world, customer, 1_000).id)
    assert (first.starting_balance, first.ending_balance, first.amount_due) == (-300, 0, 700)
    assert world.v1.customers.retrieve(customer.id).balance == 0
    assert world.v1.invoices.void_invoice(first.id).status == "void"
    assert world.v1.customers.retrieve(customer.id).balance == -300
    second = world.v1.invoices.finalize_invoice(invoice(world, customer, 1_000).id)
    assert world.v1.invoices.mark_uncollectible(second.id).status == "uncollectible"
    assert world.v1.invoices.pay(second.id).status == "paid"
    kinds = [row.type for row in world.v1.customers.balance_transactions.list(customer.id).data]
    assert kinds == ["applied_to_invoice", "unapplied_from_invoice", "applied_to_invoice", "adjustment"]


def test_a_negative_total_becomes_credit(world: World) -> None:
    customer = world.customer()
    final = world.v1.invoices.finalize_invoice(invoice(world, customer, 200, -900).id)
    assert (final.status, final.total, final.amount_due, final.ending_balance) == ("paid", -700, 0, -700)
    following = world.v1.invoices.finalize_invoice(invoice(world, customer, 1_000).id)
    assert (following.amount_due, following.starting_balance) == (300, -700)


def test_many_lines_are_paged(world: World) -> None:
    customer = world.customer()
    draft = invoice(world, customer, *range(101, 126))
    assert (len(draft.lines.data), draft.lines.has_more) == (10, True)
    page = world.v1.invoices.line_items.list(draft.id, {"limit": 100})
    assert [line.amount for line in page.data] == list(range(101, 126))
    through = world.v1.invoices.line_items.list(draft.id, {"limit": 7}).auto_paging_iter()
    assert [line.amount for line in through] == list(range(101, 126))
    assert draft.total == sum(range(101, 126))


def test_lines_are_added_and_removed(world: World) -> None:
    customer = world.customer()
    draft = invoice(world, customer, 100)
    pending = item(world, customer, 50)
    added = world.v1.invoices.add_lines(
        draft.id, {"lines": [{"invoice_item": pending.id}, {"amount": 7, "description": "Fee"}]}
    )
    assert lines_of(added) == [(1, 100), (1, 50), (1, 7)]
    first, second = added.lines.data[0].id, added.lines.data[1].id
    left = world.v1.invoices.remove_lines(
        draft.id, {"lines": [{"id": first, "behavior": "delete"}, {"id": second, "behavior": "unassign"}]}
    )
    assert (lines_of(left), left.total) == ([(1, 7)], 7)
    assert [found.amount for found in world.v1.invoice_items.list({"pending": True}).data] == [50]


def test_invoice_items_change_their_draft(world: World) -> None:
    customer = world.customer()
    price = world.v1.prices.create(
        {"product": world.product.id, "currency": "usd", "unit_amount_decimal": Decimal("12.345")}
    )
    draft = invoice(world, customer)
    first = world.v1.invoice_items.create(
        {"customer": customer.id, "invoice": draft.id, "pricing": {"price": price.id}, "quantity": 3}
    )
    assert (first.amount, first.quantity) == (37, 3)  # 37.035
    world.v1.invoice_items.update(first.id, {"quantity": 10})
    assert lines_of(world.v1.invoices.retrieve(draft.id)) == [(10, 123)]  # 123.45
    world.v1.invoice_items.delete(first.id)
    assert world.v1.invoices.retrieve(draft.id).total == 0


def test_a_list_filters(world: World) -> None:
    customer, other = world.customer(), world.customer()
    draft, final = invoice(world, customer, 100), invoice(world, customer, 100)
    world.v1.invoices.finalize_invoice(final.id)
    invoice(world, other, 100)
    found = world.v1.invoices.list({"customer": customer.id, "status": "open"}).data
    assert [one.id for one in found] == [final.id]
    assert [one.id for one in world.v1.invoices.list({"customer": customer.id}).data] == [final.id, draft.id]
    assert world.v1.invoices.list({"created": {"lt": at(2026, 10, 1)}}).data == []
    assert world.v1.invoices.list({"collection_method": "send_invoice"}).data == []


def test_a_preview_stores_nothing(world: World) -> None:
    customer = world.customer()
    meter = world.meter()
    subscription = world.subscribe(
        customer, world.licensed(9_900), world.metered(meter, (10, "100"), ("inf", "50"))
    )
    world.use(customer, 12)
    item(world, customer, 33)
    before = len(world.sandbox.events())
    preview = world.v1.invoices.create_preview({"subscription": subscription.id})
    assert lines_of(preview) == [(1, 33), (1, 9_900), (10, 1_000), (2, 100)]
    assert (preview.total, preview.status, preview.id.startswith("upcoming_in_")) == (11_033, "draft", True)
    assert len(world.invoices(customer)) == 1
    assert len(world.sandbox.events()) == before
    recurring = world.v1.invoices.create_preview(
        {"subscription": subscription.id, "preview_mode": "recurring"}
    )
    assert lines_of(recurring) == [(1, 9_900)]
    world.advance(at(2026, 11, 1, 2))
    assert lines_of(world.latest(customer)) == lines_of(preview)


def test_a_preview_of_a_subscription_to_be(world: World) -> None:
    customer = world.customer(card=None)
    price = world.licensed(9_900)
    details: Any = {"items": [{"price": price.id}], "billing_cycle_anchor": at(2026, 10, 16)}
    preview = world.v1.invoices.create_preview({"customer": customer.id, "subscription_details": details})
    assert lines_of(preview) == [(1, 4_950)]  # 15 of the 30 days since 16 September
    assert world.v1.subscriptions.list({"customer": customer.id, "status": "all"}).data == []
    with pytest.raises(stripe.InvalidRequestError) as refused:
        world.v1.invoices.create_preview({"customer": customer.id})
    assert refused.value.code == "invoice_upcoming_none"


def test_a_change_is_prorated_on_the_next_invoice(world: World) -> None:
    customer = world.customer()
    small, large = world.licensed(3_100), world.licensed(6_200)
    subscription = world.subscribe(customer, small)
    world.advance(at(2026, 10, 11))
    change: Any = {"items": [{"id": subscription["items"].data[0].id, "price": large.id}]}
    preview = world.v1.invoices.create_preview(
        {"subscription": subscription.id, "subscription_details": change}
    )
    # 21 of 31 days: 2,100 back and 4,200 on top, then the new price.
    assert lines_of(preview) == [(1, -2_100), (1, 4_200), (1, 6_200)]
    updated = world.v1.subscriptions.update(subscription.id, change)
    assert updated["items"].data[0].price.id == large.id
    world.advance(at(2026, 11, 1, 2))
    final = world.latest(customer)
    assert (lines_of(final), final.total) == ([(1, -2_100), (1, 4_200), (1, 6_200)], 8_300)
    details = final.lines.data[0].parent
    assert details
    assert details.invoice_item_details
    assert details.invoice_item_details.proration


def test_a_change_is_invoiced_at_once_or_not_at_all(world: World) -> None:
    customer = world.customer()
    subscription = world.subscribe(customer, world.licensed(3_100))
    world.advance(at(2026, 10, 11))
    only = subscription["items"].data[0].id
    world.v1.subscription_items.update(only, {"quantity": 3, "proration_behavior": "always_invoice"})
    at_once = world.latest(customer)
    assert (at_once.billing_reason, at_once.status, lines_of(at_once)) == (
        "subscription_update", "paid", [(1, -2_100), (3, 6_300)]
    )  # fmt: skip
    world.v1.subscription_items.update(only, {"quantity": 1, "proration_behavior": "none"})
    world.advance(at(2026, 11, 1, 2))
    assert lines_of(world.latest(customer)) == [(1, 3_100)]


def test_another_rhythm_starts_a_new_period(world: World) -> None:
    customer = world.customer()
    subscription = world.subscribe(customer, world.licensed(3_100))
    world.advance(at(2026, 10, 11))
    yearly = world.licensed(30_000, interval="year")
    change: Any = {"items": [{"id": subscription["items"].data[0].id, "price": yearly.id}]}
    updated = world.v1.subscriptions.update(subscription.id, change)
    assert updated["items"].data[0].current_period_end == at(2027, 10, 11)
    assert lines_of(world.latest(customer)) == [(1, -2_100), (1, 30_000)]


def test_cancelling_now_and_at_the_end(world: World) -> None:
    customer = world.customer()
    meter = world.meter()
    usage = world.metered(meter, ("inf", "100"))
    first = world.subscribe(customer, world.licensed(3_100), usage)
    world.advance(at(2026, 10, 11))
    world.use(customer, 7)
    ended = world.v1.subscriptions.cancel(first.id, {"invoice_now": True, "prorate": True})
    assert (ended.status, ended.ended_at) == ("canceled", at(2026, 10, 11))
    final = world.latest(customer)
    assert (final.status, lines_of(final), final.total) == ("paid", [(1, -2_100), (7, 700)], -1_400)
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.subscriptions.update(first.id, {"cancel_at_period_end": True})

    second = world.subscribe(customer, usage)
    planned = world.v1.subscriptions.update(second.id, {"cancel_at_period_end": True})
    assert (planned.status, planned.cancel_at) == ("active", at(2026, 11, 11))
    with pytest.raises(stripe.InvalidRequestError, match="must be in the future"):
        world.v1.subscriptions.update(second.id, {"cancel_at": at(2026, 10, 11)})
    lifted = world.v1.subscriptions.update(second.id, {"cancel_at": ""})
    assert (lifted.cancel_at, lifted.cancel_at_period_end, lifted.canceled_at) == (None, False, None)
    world.v1.subscriptions.update(second.id, {"cancel_at": at(2026, 11, 11)})
    world.use(customer, 3)
    world.advance(at(2026, 11, 11, 2))
    assert world.v1.subscriptions.retrieve(second.id).status == "canceled"
    # Usage belongs to the customer: what the first subscription billed on the same day counts again.
    assert lines_of(world.latest(customer)) == [(10, 1_000)]
    deleted = world.sandbox.events("customer.subscription.deleted")
    assert [event.data.object["id"] for event in deleted] == [first.id, second.id]


def test_credit_notes_reduce_what_is_due(world: World) -> None:
    customer = world.customer()
    final = world.v1.invoices.finalize_invoice(invoice(world, customer, 1_000, 500).id)
    line = final.lines.data[0]
    preview = world.v1.credit_notes.preview({"invoice": final.id, "amount": 100})
    assert (preview.total, preview.type) == (100, "pre_payment")
    note = world.v1.credit_notes.create(
        {
            "invoice": final.id,
            "lines": [{"type": "invoice_line_item", "invoice_line_item": line.id, "amount": 400}],
        }
    )
    assert (note.amount, note.type, note.number) == (400, "pre_payment", f"{final.number}-CN-01")
    found = world.v1.invoices.retrieve(final.id)
    assert (found.total, found.amount_due, found.amount_remaining) == (1_500, 1_100, 1_100)
    assert found.pre_payment_credit_notes_amount == 400
    assert world.v1.credit_notes.void_credit_note(note.id).status == "void"
    assert world.v1.invoices.retrieve(final.id).amount_remaining == 1_500
    world.v1.credit_notes.create({"invoice": final.id, "amount": 1_500})
    assert world.v1.invoices.retrieve(final.id).status == "paid"
    with pytest.raises(stripe.InvalidRequestError, match="greater than what is left"):
        world.v1.credit_notes.create({"invoice": final.id, "amount": 1, "credit_amount": 1})


def test_credit_notes_give_back_what_was_paid(world: World) -> None:
    customer = world.customer()
    paid = world.v1.invoices.pay(invoice(world, customer, 1_000).id)
    with pytest.raises(stripe.InvalidRequestError, match="must equal"):
        world.v1.credit_notes.create({"invoice": paid.id, "amount": 600})
    note = world.v1.credit_notes.create(
        {
            "invoice": paid.id,
            "amount": 600,
            "credit_amount": 200,
            "refund_amount": 300,
            "out_of_band_amount": 100,
        }
    )
    assert (note.type, note.post_payment_amount, note.refunds[0].amount_refunded) == (
        "post_payment",
        600,
        300,
    )
    assert world.v1.customers.retrieve(customer.id).balance == -200
    found = world.v1.invoices.retrieve(paid.id)
    assert (found.status, found.post_payment_credit_notes_amount, found.amount_paid) == ("paid", 600, 1_000)
    assert [line.amount for line in world.v1.credit_notes.line_items.list(note.id).data] == [600]
    assert [one.id for one in world.v1.credit_notes.list({"invoice": paid.id}).data] == [note.id]
    with pytest.raises(stripe.InvalidRequestError, match="open invoices"):
        world.v1.credit_notes.void_credit_note(note.id)


def test_coupons_and_tax_rates(world: World) -> None:
    customer = world.customer()
    half = world.v1.coupons.create({"percent_off": 50, "duration": "once"})
    vat = world.v1.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": False})
    subscription = world.subscribe(
        customer, world.licensed(9_901), discounts=[{"coupon": half.id}], default_tax_rates=[vat.id]
    )
    first = world.latest(customer)
    # 4,950.5 -> 4,951 off, 4,950 taxed with 940.5 -> 941.
    assert (first.subtotal, first.total) == (9_901, 5_891)
    assert first.total_discount_amounts
    assert first.total_discount_amounts[0].amount == 4_951
    assert first.total_taxes
    assert first.total_taxes[0].amount == 941
    assert world.v1.coupons.retrieve(half.id).times_redeemed == 1
    world.advance(at(2026, 11, 1, 2))
    assert world.latest(customer).total == 11_782  # 9,901 and 1,881.19
    assert world.v1.subscriptions.retrieve(subscription.id).discounts == []


def test_tax_in_the_price_and_tax_on_top_on_one_invoice(world: World) -> None:
    customer = world.customer()
    within = world.v1.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": True})
    on_top = world.v1.tax_rates.create({"display_name": "VAT", "percentage": 7, "inclusive": False})
    draft = world.v1.invoices.create({"customer": customer.id, "default_tax_rates": [within.id]})
    for amount, rates in ((9_999, None), (10_000, [on_top.id])):
        item: Any = {"customer": customer.id, "invoice": draft.id, "amount": amount, "currency": "usd"}
        world.v1.invoice_items.create(item | ({"tax_rates": rates} if rates else {}))
    found = world.v1.invoices.retrieve(draft.id)
    # 99.99 holds 15.9647 of tax; 7.00 comes on top of 100.00.
    assert (found.subtotal, found.total) == (19_999, 20_699)
    assert (found.subtotal_excluding_tax, found.total_excluding_tax) == (18_403, 18_403)
    assert [(tax.amount, tax.taxable_amount, tax.tax_behavior) for tax in found.total_taxes or ()] == [
        (1_596, 8_403, "inclusive"),
        (700, 10_000, "exclusive"),
    ]


def test_a_price_takes_no_rate_that_contradicts_its_behavior(world: World) -> None:
    customer, told = world.customer(), world.licensed(1_190, tax_behavior="inclusive")
    on_top = world.v1.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": False})
    within = world.v1.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": True})
    with pytest.raises(stripe.InvalidRequestError, match="`tax_behavior` that conflicts with the tax rates"):
        world.subscribe(customer, told, default_tax_rates=[on_top.id])
    subscription = world.subscribe(customer, told, default_tax_rates=[within.id])
    first = world.latest(customer)
    assert (first.total, first.total_excluding_tax) == (1_190, 1_000)
    with pytest.raises(stripe.InvalidRequestError, match="`tax_behavior` that conflicts with the tax rates"):
        world.v1.subscriptions.update(subscription.id, {"default_tax_rates": [on_top.id]})


def test_totals_of_a_fixed_discount_on_a_draft(world: World) -> None:
    coupon = world.v1.coupons.create({"amount_off": 500, "currency": "usd", "duration": "once"})
    draft = invoice(world, world.customer(), 300, 600)
    found = world.v1.invoices.update(draft.id, {"discounts": [{"coupon": coupon.id}]})
    shares = [line.discount_amounts[0].amount for line in found.lines.data if line.discount_amounts]
    assert (found.total, shares) == (400, [166, 334])


def test_a_refused_change_leaves_no_trace(world: World) -> None:
    customer = world.customer()
    subscription = world.subscribe(customer, world.licensed())
    only = subscription["items"].data[0].id
    refused: list[Any] = [
        {"description": "x", "items": [{"id": only, "price": "price_none"}]},
        {"description": "x", "metadata": {"k": "v" * 501}},
        {"description": "x", "items": [{"id": only, "quantity": 2}], "proration_date": at(2026, 9, 1)},
    ]
    for change in refused:
        with pytest.raises(stripe.InvalidRequestError):
            world.v1.subscriptions.update(subscription.id, change)
    assert world.v1.subscriptions.retrieve(subscription.id).to_dict() == subscription.to_dict()
    draft = invoice(world, customer, 100)
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.invoices.update(draft.id, {"description": "x", "default_tax_rates": ["txr_none"]})
    assert world.v1.invoices.retrieve(draft.id).to_dict() == draft.to_dict()
    poor = world.customer(card=None)
    extra: Any = [{"price_data": {"currency": "usd", "product": world.product.id, "unit_amount": 500}}]
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        world.subscribe(poor, world.licensed(), add_invoice_items=extra)
    assert world.v1.invoice_items.list({"customer": poor.id}).data == []


def test_deleting_a_customer_stops_its_billing(sandbox: SandboxProcess) -> None:
    world = World(sandbox, at(2026, 10, 1))
    customer = world.customer()
    subscription = world.subscribe(customer, world.licensed())
    world.advance(at(2026, 11, 1, 0, 30))
    draft = world.latest(customer)
    assert world.v1.customers.delete(customer.id).deleted
    assert world.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    world.advance(at(2026, 12, 1))
    assert world.v1.invoices.retrieve(draft.id).status == "draft"
    assert world.v1.test_helpers.test_clocks.retrieve(world.clock.id).status == "ready"


def test_one_time_items_join_the_first_invoice(world: World) -> None:
    customer = world.customer()
    extra: Any = [
        {"price_data": {"currency": "usd", "product": world.product.id, "unit_amount": 500}, "quantity": 2}
    ]
    world.subscribe(customer, world.licensed(3_100), add_invoice_items=extra)
    assert lines_of(world.latest(customer)) == [(2, 1_000), (1, 3_100)]
