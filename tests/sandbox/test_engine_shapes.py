"""Every object the sandbox answers with has the fields that the SDK's classes declare."""

from __future__ import annotations

import re
from typing import Any

import pytest

import sandbox.resources  # noqa: F401
from sandbox.engine.routing import OPERATIONS
from sandbox.engine.shapes import complete, sdk_class
from tests.sandbox.process import SandboxProcess
from tests.sandbox.sdk_shape import shape_problems

KINDS = (
    *("customer", "product", "price", "payment_method", "payment_intent", "setup_intent", "charge", "refund"),
    *("balance_transaction", "card", "token", "event", "webhook_endpoint"),
    *("subscription", "subscription_item", "invoice", "invoiceitem", "line_item", "invoice_payment"),
    *("credit_note", "credit_note_line_item", "customer_balance_transaction", "checkout.session"),
    *("billing_portal.session", "billing_portal.configuration", "test_helpers.test_clock"),
    *(
        "billing.meter",
        "billing.meter_event",
        "billing.meter_event_adjustment",
        "billing.meter_event_summary",
    ),
    *("coupon", "discount", "tax_id", "tax_rate"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_completion_alone_fills_every_field_that_is_always_present(kind: str) -> None:
    assert sdk_class(kind) is not None
    assert shape_problems(complete(kind, {"id": "x", "object": kind})) == []


def test_completion_keeps_values_and_drops_private_keys() -> None:
    customer = complete("customer", {"id": "cus_1", "object": "customer", "name": "Ada", "_secret": 1})
    assert customer["name"] == "Ada"
    assert "_secret" not in customer
    assert customer["metadata"] == {}
    assert "subscriptions" not in customer


def test_completion_reaches_nested_objects() -> None:
    invoice = complete(
        "invoice",
        {"id": "in_1", "object": "invoice", "lines": {"object": "list", "data": [{"object": "line_item"}]}},
    )
    assert invoice["lines"]["data"][0]["livemode"] is False
    assert invoice["automatic_tax"]["enabled"] is False
    assert invoice["status_transitions"] == {
        "finalized_at": None,
        "marked_uncollectible_at": None,
        "paid_at": None,
        "voided_at": None,
    }


def _make_one_of_each(sandbox: SandboxProcess) -> list[dict[str, Any]]:
    """Create an object of each of the engine's own kinds and return the answers as JSON."""
    made: list[dict[str, Any]] = []

    def post(path: str, **fields: Any) -> dict[str, Any]:
        answer = sandbox.request("POST", path, fields or None)
        assert answer.status == 200, answer.body
        made.append(answer.body)
        body: dict[str, Any] = answer.body
        return body

    customer = post("/v1/customers", email="a@example.com", **{"address[city]": "Bern", "shipping[name]": "A",
                    "shipping[address][line1]": "1 Way", "metadata[k]": "v"})  # fmt: skip
    product = post("/v1/products", name="Seats")
    post(
        "/v1/prices",
        product=product["id"],
        currency="usd",
        unit_amount="5",
        **{"recurring[interval]": "month"},
    )
    post("/v1/prices", product=product["id"], currency="usd", billing_scheme="tiered", tiers_mode="graduated",
         **{"tiers[0][up_to]": "10", "tiers[0][unit_amount]": "1", "tiers[1][up_to]": "inf",
            "tiers[1][unit_amount_decimal]": "0.5", "expand[]": "tiers"})  # fmt: skip
    method = post("/v1/payment_methods/pm_card_visa/attach", customer=customer["id"])
    post("/v1/payment_methods", type="sepa_debit", **{"sepa_debit[iban]": "DE89370400440532013000"})
    post("/v1/payment_methods", type="us_bank_account", **{"us_bank_account[account_number]": "000123456789"})
    post(
        "/v1/tokens", **{"card[number]": "4242424242424242", "card[exp_month]": "1", "card[exp_year]": "2039"}
    )
    post(f"/v1/customers/{customer['id']}/sources", source="tok_mastercard")
    post("/v1/setup_intents", customer=customer["id"], payment_method=method["id"], confirm="true")
    intent = post("/v1/payment_intents", amount="900", currency="usd", customer=customer["id"], confirm="true",
                  payment_method=method["id"])  # fmt: skip
    post("/v1/payment_intents", amount="900", currency="usd", payment_method="pm_card_threeDSecure2Required",
         confirm="true")  # fmt: skip
    post("/v1/refunds", payment_intent=intent["id"], amount="100", **{"expand[]": "balance_transaction"})
    post("/v1/webhook_endpoints", url="http://127.0.0.1:9/x", **{"enabled_events[]": "*"})
    declined = sandbox.request("POST", "/v1/payment_intents", {"amount": "900", "currency": "usd", "confirm": "true",
                               "payment_method": "pm_card_chargeCustomerFail"})  # fmt: skip
    assert declined.status == 402
    made.append(declined.body["error"]["payment_intent"])
    return made


def test_answers_fit_the_sdk(sandbox: SandboxProcess) -> None:
    problems = [problem for made in _make_one_of_each(sandbox) for problem in shape_problems(made)]
    assert problems == []


def test_event_snapshots_fit_the_sdk(sandbox: SandboxProcess) -> None:
    _make_one_of_each(sandbox)
    page = sandbox.request("GET", "/v1/events?limit=100").body
    assert {event["type"] for event in page["data"]} >= {
        "customer.created",
        "charge.failed",
        "setup_intent.succeeded",
    }
    problems = [
        p for event in page["data"] for p in shape_problems(event) + shape_problems(event["data"]["object"])
    ]
    assert problems == []


def test_lists_of_every_collection_fit_the_sdk(sandbox: SandboxProcess) -> None:
    _make_one_of_each(sandbox)
    collections = [o.path for o in OPERATIONS if o.method == "GET" and re.fullmatch(r"/v1/[a-z_]+", o.path)]
    seen = 0
    for path in collections:
        answer = sandbox.request("GET", f"{path}?limit=100")
        if answer.status != 200:  # some need a filter
            assert answer.status == 400, (path, answer.body)
            continue
        assert answer.body["url"] == path
        seen += len(answer.body["data"])
        assert [p for element in answer.body["data"] for p in shape_problems(element)] == []
    assert seen > 20
