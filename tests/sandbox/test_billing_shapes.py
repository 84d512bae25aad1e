"""What billing answers and tells fits the SDK's classes, field by field."""

from __future__ import annotations

import json
from typing import Any

from tests.sandbox.billing_world import World, at
from tests.sandbox.process import SandboxProcess
from tests.sandbox.sdk_shape import shape_problems


def _live_through_a_month(sandbox: SandboxProcess) -> World:
    """Make one of nearly everything that billing knows."""
    world = World(sandbox, at(2026, 10, 1))
    v1 = world.v1
    vat = v1.tax_rates.create({"display_name": "VAT", "percentage": 7.7, "inclusive": False})
    inside = v1.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": True})
    coupon = v1.coupons.create({"percent_off": 10, "duration": "forever"})
    customer = world.customer()
    metered = world.metered(world.meter(), (10, "0"), ("inf", "12.5"))
    subscription = world.subscribe(
        customer, world.licensed(), metered, discounts=[{"coupon": coupon.id}], default_tax_rates=[vat.id]
    )
    world.subscribe(world.customer(card=None), metered, trial_period_days=5, description="Trial")
    world.use(customer, 100)
    world.v1.invoice_items.create({"customer": customer.id, "amount": 100, "currency": "usd"})
    v1.subscriptions.update(
        subscription.id, {"items": [{"id": subscription["items"].data[0].id, "quantity": 2}]}
    )
    world.advance(at(2026, 11, 1, 2))
    paid = world.latest(customer)
    v1.credit_notes.create({"invoice": paid.id, "amount": 100, "credit_amount": 40, "refund_amount": 60})
    flat = next(line for line in paid.lines.data if line.amount > 100 and line.discount_amounts)
    taken_back: Any = {
        "invoice": paid.id,
        "lines": [
            {
                "type": "invoice_line_item",
                "invoice_line_item": flat.id,
                "amount": 100,
                "metadata": {"a": "b"},
            },
            {"type": "custom_line_item", "unit_amount_decimal": "12.5", "quantity": 4, "tax_rates": [vat.id]},
        ],
    }
    v1.credit_notes.create(
        {**taken_back, "credit_amount": v1.credit_notes.preview(taken_back | {"credit_amount": 151}).total}
    )
    draft = v1.invoices.create(
        {"customer": customer.id, "collection_method": "send_invoice", "days_until_due": 3}
    )
    v1.invoice_items.create(
        {
            "customer": customer.id,
            "invoice": draft.id,
            "amount": 900,
            "currency": "usd",
            "tax_rates": [inside.id],
        }
    )
    v1.invoices.send_invoice(draft.id)
    v1.invoices.void_invoice(draft.id)
    v1.subscriptions.cancel(subscription.id)
    session = v1.checkout.sessions.create({"mode": "setup", "customer": customer.id, "currency": "usd"})
    sandbox.request("POST", f"/_sandbox/checkout/sessions/{session.id}/complete")
    v1.billing_portal.sessions.create({"customer": customer.id})
    v1.customers.tax_ids.create(customer.id, {"type": "eu_vat", "value": "DE000000000"})
    return world


LISTS = (
    "/v1/invoices?expand[]=data.payments&expand[]=data.confirmation_secret",
    "/v1/invoiceitems",
    "/v1/invoice_payments",
    "/v1/subscriptions?status=all&test_clock={clock}&expand[]=data.latest_invoice&expand[]=data.discounts",
    "/v1/credit_notes",
    "/v1/coupons",
    "/v1/tax_rates",
    "/v1/billing/meters",
    "/v1/test_helpers/test_clocks",
    "/v1/checkout/sessions?expand[]=data.line_items",
    "/v1/billing_portal/configurations",
)


def test_answers_fit_the_sdk(sandbox: SandboxProcess) -> None:
    world = _live_through_a_month(sandbox)
    invoice = sandbox.request("GET", "/v1/invoices?status=paid").body["data"][0]
    subscription = sandbox.request("GET", f"/v1/subscriptions?status=all&test_clock={world.clock.id}").body[
        "data"
    ][-1]
    customer = f"/v1/customers/{invoice['customer']}"
    note = sandbox.request("GET", "/v1/credit_notes").body["data"][0]
    # A line of the invoice at 10 % off plus 7.7 %, and a custom one plus 7.7 %, each rounded.
    assert (note["subtotal"], note["discount_amount"], note["total"]) == (150, 10, 151)
    assert [line["taxes"][0]["amount"] for line in note["lines"]["data"]] == [7, 4]
    lists = [
        *(path.format(clock=world.clock.id) for path in LISTS),
        f"/v1/invoices/{invoice['id']}/lines",
        f"/v1/credit_notes/{note['id']}/lines",
        f"/v1/subscription_items?subscription={subscription['id']}",
        f"{customer}/balance_transactions",
        f"{customer}/tax_ids",
    ]
    for path in lists:
        answer = sandbox.request("GET", path)
        assert answer.status == 200, (path, answer.body)
        assert answer.body["data"], path
        assert [problem for found in answer.body["data"] for problem in shape_problems(found)] == [], path
    preview: Any = sandbox.request("POST", "/v1/invoices/create_preview", {"customer": invoice["customer"]})
    assert preview.status == 404


def test_events_fit_the_sdk(sandbox: SandboxProcess) -> None:
    _live_through_a_month(sandbox)
    events = [event.to_dict() for event in sandbox.events()]
    assert {event["type"] for event in events} >= {
        "customer.subscription.trial_will_end",
        "customer.subscription.deleted",
        "credit_note.created",
        "invoice.voided",
        "invoice.sent",
        "checkout.session.completed",
        "test_helpers.test_clock.ready",
        "customer.tax_id.created",
    }
    for event in sandbox.request("GET", "/v1/events?limit=100").body["data"]:
        assert shape_problems(event["data"]["object"]) == [], event["type"]
        assert '"_' not in json.dumps(event["data"]), event["type"]
