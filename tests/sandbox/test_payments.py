"""Payment methods, payment intents, setup intents, charges and refunds, through the SDK."""

from __future__ import annotations

import pytest
import stripe

from tests.sandbox.process import SandboxProcess


def test_default_method_named_by_its_alias_is_attached_as_a_copy(sandbox: SandboxProcess) -> None:
    customer = sandbox.client.v1.customers.create(
        {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    )
    assert customer.invoice_settings is not None
    default = customer.invoice_settings.default_payment_method
    assert isinstance(default, str)
    assert default.startswith("pm_")
    assert default != "pm_card_visa"
    listed = sandbox.client.v1.customers.payment_methods.list(customer.id).data
    assert [method.id for method in listed] == [default]
    assert listed[0].card is not None
    assert (listed[0].card.brand, listed[0].card.last4) == ("visa", "4242")


def test_card_that_refuses_to_be_saved_leaves_no_customer(sandbox: SandboxProcess) -> None:
    with pytest.raises(stripe.CardError) as refused:
        sandbox.client.v1.customers.create({"payment_method": "pm_card_visa_chargeDeclined"})
    assert (refused.value.http_status, refused.value.code) == (402, "card_declined")
    assert sandbox.client.v1.customers.list().data == []


def test_payment_succeeds_and_is_refunded_in_two_parts(sandbox: SandboxProcess) -> None:
    v1 = sandbox.client.v1
    customer = v1.customers.create({"payment_method": "pm_card_visa"})
    method = v1.customers.payment_methods.list(customer.id).data[0]
    intent = v1.payment_intents.create(
        {
            "amount": 2500,
            "currency": "USD",
            "customer": customer.id,
            "payment_method": method.id,
            "confirm": True,
            "off_session": True,
        }
    )
    assert (intent.status, intent.amount_received, intent.currency) == ("succeeded", 2500, "usd")
    v1.refunds.create({"payment_intent": intent.id, "amount": 1000, "reason": "requested_by_customer"})
    charge = v1.charges.retrieve(str(intent.latest_charge))
    assert (charge.amount_refunded, charge.refunded) == (1000, False)
    rest = v1.refunds.create({"charge": charge.id})
    assert rest.amount == 1500
    assert v1.charges.retrieve(charge.id).refunded is True
    with pytest.raises(stripe.InvalidRequestError) as refused:
        v1.refunds.create({"charge": charge.id})
    assert refused.value.code == "charge_already_refunded"
    assert sandbox.event_types() == [
        "payment_method.attached",
        "customer.created",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "refund.created",
        "charge.refunded",
        "refund.created",
        "charge.refunded",
    ]


def test_declined_payment_says_why_and_can_be_retried_with_another_card(sandbox: SandboxProcess) -> None:
    v1 = sandbox.client.v1
    customer = v1.customers.create({"payment_method": "pm_card_chargeCustomerFail"})
    method = v1.customers.payment_methods.list(customer.id).data[0]
    intent = v1.payment_intents.create({"amount": 700, "currency": "eur", "customer": customer.id})
    assert intent.status == "requires_payment_method"
    with pytest.raises(stripe.CardError) as refused:
        v1.payment_intents.confirm(intent.id, {"payment_method": method.id})
    error = refused.value.error
    assert error is not None
    assert (refused.value.http_status, error.code, error.decline_code) == (
        402,
        "card_declined",
        "generic_decline",
    )
    assert error.payment_intent is not None
    assert error.payment_intent.id == intent.id
    failed = v1.payment_intents.retrieve(intent.id)
    assert failed.status == "requires_payment_method"
    assert failed.last_payment_error is not None
    assert failed.last_payment_error.decline_code == "generic_decline"
    paid = v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert paid.status == "succeeded"
    assert [charge.status for charge in v1.charges.list({"payment_intent": intent.id}).data] == [
        "succeeded",
        "failed",
    ]


def test_manual_capture_takes_part_of_the_amount(sandbox: SandboxProcess) -> None:
    intents = sandbox.client.v1.payment_intents
    held = intents.create(
        {
            "amount": 900,
            "currency": "usd",
            "capture_method": "manual",
            "payment_method": "pm_card_visa",
            "confirm": True,
        }
    )
    assert (held.status, held.amount_capturable) == ("requires_capture", 900)
    taken = intents.capture(held.id, {"amount_to_capture": 600})
    assert (taken.status, taken.amount_received) == ("succeeded", 600)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        intents.cancel(held.id)
    assert refused.value.code == "payment_intent_unexpected_state"


@pytest.mark.parametrize(
    ("number", "decline_code"),
    [("4000000000009995", "insufficient_funds"), ("4000000000000002", "generic_decline")],
)
def test_test_numbers_decline_as_stripe_documents_them(
    sandbox: SandboxProcess, number: str, decline_code: str
) -> None:
    v1 = sandbox.client.v1
    method = v1.payment_methods.create(
        {"type": "card", "card": {"number": number, "exp_month": 5, "exp_year": 2035, "cvc": "123"}}
    )
    with pytest.raises(stripe.CardError) as refused:
        v1.payment_intents.create(
            {"amount": 100, "currency": "usd", "payment_method": method.id, "confirm": True}
        )
    assert refused.value.error is not None
    assert refused.value.error.decline_code == decline_code


def test_real_card_numbers_are_refused(sandbox: SandboxProcess) -> None:
    with pytest.raises(stripe.CardError) as refused:
        sandbox.client.v1.payment_methods.create(
            {"type": "card", "card": {"number": "4111111111111111", "exp_month": 5, "exp_year": 2035}}
        )
    assert refused.value.error is not None
    assert refused.value.error.decline_code == "test_mode_live_card"


def test_setup_intent_attaches_the_method(sandbox: SandboxProcess) -> None:
    v1 = sandbox.client.v1
    customer = v1.customers.create()
    setup = v1.setup_intents.create(
        {"customer": customer.id, "payment_method": "pm_card_visa", "confirm": True}
    )
    assert setup.status == "succeeded"
    assert [m.id for m in v1.customers.payment_methods.list(customer.id).data] == [setup.payment_method]


def test_detached_default_is_forgotten_and_the_method_cannot_come_back(sandbox: SandboxProcess) -> None:
    v1 = sandbox.client.v1
    customer = v1.customers.create(
        {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    )
    method = v1.customers.payment_methods.list(customer.id).data[0]
    assert v1.payment_methods.detach(method.id).customer is None
    read = v1.customers.retrieve(customer.id)
    assert read.invoice_settings is not None
    assert read.invoice_settings.default_payment_method is None
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        v1.payment_methods.attach(method.id, {"customer": customer.id})


def test_token_source_becomes_the_default(sandbox: SandboxProcess) -> None:
    v1 = sandbox.client.v1
    customer = v1.customers.create({"source": "tok_visa"}, {})
    assert str(customer.default_source).startswith("card_")
    shown = v1.customers.retrieve(customer.id, {"expand": ["sources", "default_source"]})
    assert shown.sources is not None
    assert [card.id for card in shown.sources.data] == [customer.default_source]
    token = v1.tokens.create({"card": {"number": "5555555555554444", "exp_month": "4", "exp_year": "2034"}})
    added = v1.customers.payment_sources.create(customer.id, {"source": token.id})
    assert isinstance(added, stripe.Card)
    assert (added.brand, added.exp_year) == ("MasterCard", 2034)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        v1.customers.payment_sources.create(customer.id, {"source": token.id})
    assert refused.value.code == "token_already_used"
