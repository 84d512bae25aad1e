"""What every request has in common: keys, URLs, errors, idempotency, pages and expansion."""

from __future__ import annotations

import base64
import re
import urllib.parse
from decimal import Decimal

import pytest
import stripe

from tests.sandbox.process import SandboxProcess


def test_headers_name_the_request_and_the_version(sandbox: SandboxProcess) -> None:
    answer = sandbox.request("POST", "/v1/customers", {"name": "Ada"})
    assert re.fullmatch(r"req_[A-Za-z0-9]{14}", answer.headers["request-id"])
    assert answer.headers["stripe-version"] == stripe.api_version
    assert answer.body["livemode"] is False
    other = sandbox.request("GET", "/v1/customers", headers={"Stripe-Version": "2025-03-31.basil"})
    assert other.headers["stripe-version"] == "2025-03-31.basil"


def test_a_request_without_a_key_is_401(sandbox: SandboxProcess) -> None:
    answer = sandbox.request("GET", "/v1/customers", key=None)
    assert answer.status == 401
    assert answer.body["error"]["message"].startswith("You did not provide an API key.")


@pytest.mark.parametrize("key", ["pk_test_123456789012345", "sk_live_123456789012345", "nonsense", "sk_tes"])
def test_only_secret_test_keys_are_let_in(sandbox: SandboxProcess, key: str) -> None:
    answer = sandbox.request("GET", "/v1/customers", key=key)
    assert answer.status == 401
    assert answer.body["error"]["type"] == "invalid_request_error"
    assert answer.body["error"]["message"].startswith("Invalid API Key provided: ")
    assert key not in answer.body["error"]["message"]


@pytest.mark.parametrize("key", ["rk_test_1", "sk_test_1"])
def test_restricted_keys_and_basic_authentication_work(sandbox: SandboxProcess, key: str) -> None:
    assert sandbox.request("GET", "/v1/customers", key=key).status == 200
    basic = base64.b64encode(f"{key}:".encode()).decode()
    assert (
        sandbox.request("GET", "/v1/customers", key=None, headers={"Authorization": f"Basic {basic}"}).status
        == 200
    )


def test_unknown_urls_are_404_in_stripes_words(sandbox: SandboxProcess) -> None:
    answer = sandbox.request("GET", "/v1/custmers")
    assert answer.status == 404
    assert answer.body["error"]["message"] == (
        "Unrecognized request URL (GET: /v1/custmers). Please see https://stripe.com/docs or we can help at "
        "https://support.stripe.com/."
    )
    assert sandbox.request("DELETE", "/v1/customers").status == 404


def test_a_missing_object_is_404_with_the_whole_error_body(sandbox: SandboxProcess) -> None:
    answer = sandbox.request("GET", "/v1/customers/cus_none")
    assert answer.status == 404
    assert answer.body["error"] == {
        "code": "resource_missing",
        "doc_url": "https://stripe.com/docs/error-codes/resource-missing",
        "message": "No such customer: 'cus_none'",
        "param": "id",
        "request_log_url": f"https://dashboard.stripe.com/test/logs/{answer.headers['request-id']}",
        "type": "invalid_request_error",
    }


@pytest.mark.parametrize("id", ["..", "a%2Fb", "%F0%9F%92%A9", "' OR 1=1", "x" * 3000])
def test_hostile_ids_are_merely_missing(sandbox: SandboxProcess, id: str) -> None:
    answer = sandbox.request("GET", f"/v1/customers/{urllib.parse.quote(id, safe='%')}")
    assert answer.status == 404


def test_bodies_that_are_no_form_are_refused(sandbox: SandboxProcess) -> None:
    assert sandbox.request("POST", "/v1/customers", "name[=x").status == 400
    headers = {"Content-Type": "application/json"}
    assert sandbox.request("POST", "/v1/customers", "{", headers=headers).status == 400
    assert sandbox.request("POST", "/v1/customers", "name=" + "x" * (9 * 1024 * 1024)).status == 413
    assert sandbox.client.v1.customers.list().data == []


# -- idempotency ---------------------------------------------------------------------------------------------------


def test_a_repeated_key_replays_the_first_answer(sandbox: SandboxProcess) -> None:
    headers = {"Idempotency-Key": "create-ada"}
    first = sandbox.request("POST", "/v1/customers", {"name": "Ada"}, headers=headers)
    second = sandbox.request("POST", "/v1/customers", {"name": "Ada"}, headers=headers)
    assert second.raw == first.raw
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["idempotency-key"] == "create-ada"
    assert len(sandbox.client.v1.customers.list().data) == 1
    assert sandbox.events()[0]["request"]["idempotency_key"] == "create-ada"


def test_a_repeated_key_with_other_parameters_is_an_error(sandbox: SandboxProcess) -> None:
    options: stripe.RequestOptions = {"idempotency_key": "k1"}
    sandbox.client.v1.customers.create({"name": "Ada"}, options)
    with pytest.raises(stripe.IdempotencyError) as refused:
        sandbox.client.v1.customers.create({"name": "Bob"}, options)
    assert refused.value.http_status == 400
    with pytest.raises(stripe.IdempotencyError):
        sandbox.client.v1.products.create({"name": "Ada"}, options)


def test_keys_of_one_account_are_unknown_to_another(sandbox: SandboxProcess) -> None:
    headers = {"Idempotency-Key": "k2"}
    first = sandbox.request("POST", "/v1/customers", {"name": "Ada"}, headers=headers, key="sk_test_a")
    second = sandbox.request("POST", "/v1/customers", {"name": "Ada"}, headers=headers, key="sk_test_b")
    assert first.body["id"] != second.body["id"]


def test_failures_that_ran_are_replayed_and_refused_parameters_are_not(sandbox: SandboxProcess) -> None:
    headers = {"Idempotency-Key": "k3"}
    declined = {
        "amount": 500,
        "currency": "usd",
        "payment_method": "pm_card_chargeCustomerFail",
        "confirm": "true",
    }
    first = sandbox.request("POST", "/v1/payment_intents", declined, headers=headers)
    second = sandbox.request("POST", "/v1/payment_intents", declined, headers=headers)
    assert (first.status, second.status) == (402, 402)
    assert second.raw == first.raw
    assert len(sandbox.client.v1.payment_intents.list().data) == 1
    headers = {"Idempotency-Key": "k4"}
    assert sandbox.request("POST", "/v1/customers", {"nme": "Ada"}, headers=headers).status == 400
    assert sandbox.request("POST", "/v1/customers", {"name": "Ada"}, headers=headers).status == 200


def test_reads_ignore_the_key(sandbox: SandboxProcess) -> None:
    headers = {"Idempotency-Key": "k5"}
    assert sandbox.request("GET", "/v1/customers", headers=headers).body["data"] == []
    sandbox.client.v1.customers.create()
    assert len(sandbox.request("GET", "/v1/customers", headers=headers).body["data"]) == 1


# -- pages ---------------------------------------------------------------------------------------------------------


def test_pages_run_newest_first_in_both_directions(sandbox: SandboxProcess) -> None:
    customers = sandbox.client.v1.customers
    ids = [customers.create({"name": str(number)}).id for number in range(5)][::-1]
    first = customers.list({"limit": 2})
    assert ([c.id for c in first.data], first.has_more, first.url) == (ids[:2], True, "/v1/customers")
    second = customers.list({"limit": 2, "starting_after": ids[1]})
    assert ([c.id for c in second.data], second.has_more) == (ids[2:4], True)
    last = customers.list({"limit": 2, "starting_after": ids[3]})
    assert ([c.id for c in last.data], last.has_more) == (ids[4:], False)
    back = customers.list({"limit": 2, "ending_before": ids[3]})
    assert ([c.id for c in back.data], back.has_more) == (ids[1:3], True)
    assert [c.id for c in customers.list({"limit": 2}).auto_paging_iter()] == ids


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "starting_after=cus_none", "page=2",
                                   "starting_after=a&ending_before=b"])  # fmt: skip
def test_pages_out_of_bounds_are_refused(sandbox: SandboxProcess, query: str) -> None:
    assert sandbox.request("GET", f"/v1/customers?{query}").status == 400


def test_lists_filter_by_time_of_creation(sandbox: SandboxProcess) -> None:
    made = sandbox.client.v1.customers.create()
    customers = sandbox.client.v1.customers
    assert len(customers.list({"created": {"gte": made.created, "lt": made.created + 1}}).data) == 1
    assert customers.list({"created": {"gt": made.created}}).data == []
    assert customers.list({"created": {"lte": made.created - 1}}).data == []


# -- expansion -----------------------------------------------------------------------------------------------------


def test_ids_expand_on_objects_on_lists_and_through_levels(sandbox: SandboxProcess) -> None:
    v1 = sandbox.client.v1
    product = v1.products.create(
        {"name": "Seats", "default_price_data": {"currency": "usd", "unit_amount": 100}}
    )
    price = v1.prices.retrieve(str(product.default_price), {"expand": ["product.default_price"]})
    assert isinstance(price.product, stripe.Product)
    assert isinstance(price.product.default_price, stripe.Price)
    listed = v1.prices.list({"expand": ["data.product"]}).data[0]
    assert isinstance(listed.product, stripe.Product)
    assert isinstance(v1.prices.retrieve(price.id).product, str)


@pytest.mark.parametrize("path", ["nonsense", "product.nonsense", "a.b.c.d.e"])
def test_what_cannot_be_expanded_is_refused(sandbox: SandboxProcess, path: str) -> None:
    v1 = sandbox.client.v1
    product = v1.products.create(
        {"name": "Seats", "default_price_data": {"currency": "usd", "unit_amount": 100}}
    )
    with pytest.raises(stripe.InvalidRequestError, match="cannot"):
        v1.prices.retrieve(str(product.default_price), {"expand": [path]})


# -- catalogue -----------------------------------------------------------------------------------------------------


def test_lookup_keys_are_unique_until_transferred(sandbox: SandboxProcess) -> None:
    prices = sandbox.client.v1.prices
    product = sandbox.client.v1.products.create({"name": "Seats"}).id
    old = prices.create({"product": product, "currency": "usd", "unit_amount": 5, "lookup_key": "seat"})
    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        prices.create({"product": product, "currency": "usd", "unit_amount": 6, "lookup_key": "seat"})
    new = prices.create(
        {
            "product": product, "currency": "usd", "unit_amount_decimal": Decimal("6.50"), "lookup_key": "seat",
            "transfer_lookup_key": True,
        }
    )  # fmt: skip
    assert [price.id for price in prices.list({"lookup_keys": ["seat"]}).data] == [new.id]
    assert prices.retrieve(old.id).lookup_key is None
    assert (new.unit_amount, str(new.unit_amount_decimal)) == (None, "6.5")


@pytest.mark.parametrize(
    "fields",
    [
        {"unit_amount": "1", "unit_amount_decimal": "1"},
        {},
        {"unit_amount": "-1"},
        {"billing_scheme": "tiered", "tiers_mode": "graduated"},
        {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers[0][up_to]": "5", "tiers[0][unit_amount]": "1"},
        {
            "billing_scheme": "tiered", "tiers_mode": "graduated", "tiers[0][up_to]": "5",
            "tiers[0][unit_amount]": "1", "tiers[1][up_to]": "5", "tiers[1][unit_amount]": "1",
            "tiers[2][up_to]": "inf", "tiers[2][unit_amount]": "1",
        },
        {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers[0][up_to]": "inf"},
        {"unit_amount": "1", "recurring[interval]": "month", "recurring[usage_type]": "metered"},
        {"unit_amount": "1", "recurring[interval]": "year", "recurring[interval_count]": "4"},
    ],
)  # fmt: skip
def test_contradictory_prices_are_refused(sandbox: SandboxProcess, fields: dict[str, str]) -> None:
    product = sandbox.client.v1.products.create({"name": "Seats"}).id
    assert (
        sandbox.request("POST", "/v1/prices", {"product": product, "currency": "usd", **fields}).status == 400
    )
    assert sandbox.client.v1.prices.list().data == []


def test_a_product_with_prices_cannot_be_deleted(sandbox: SandboxProcess) -> None:
    v1 = sandbox.client.v1
    bare = v1.products.create({"name": "Bare", "id": "bare"})
    assert v1.products.delete(bare.id).deleted is True
    priced = v1.products.create(
        {"name": "Seats", "default_price_data": {"currency": "usd", "unit_amount": 1}}
    )
    with pytest.raises(stripe.InvalidRequestError):
        v1.products.delete(priced.id)
