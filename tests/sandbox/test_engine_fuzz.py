"""No request brings the sandbox down: whatever is sent, the answer is Stripe's kind of answer."""

from __future__ import annotations

import random
import types
import urllib.parse
from decimal import Decimal
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import typing_extensions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sandbox.resources  # noqa: F401
from sandbox.engine.errors import ParamError
from sandbox.engine.form import decode_form
from sandbox.engine.params import _NAMESPACE, _OPTION_KEYS, _OPTIONAL, compile_params, resolve_params
from sandbox.engine.routing import OPERATIONS, Operation
from tests.sandbox.process import SandboxProcess
from tests.sandbox.sdk_shape import shape_problems

ROUNDS = 12
"""Random requests per operation; raise it for a long run."""
API = [operation for operation in OPERATIONS if not operation.path.startswith("/_")]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet="ab0[]=&%\x00é;+", max_size=60))
def test_any_text_is_a_form_or_refused(text: str) -> None:
    try:
        decoded = decode_form(text)
        compile_params("PriceCreateParams")(decoded)
    except ParamError:
        return
    assert "currency" in decoded


class Maker:
    """Makes parameters that pass the type check, from the types themselves, with ids that exist."""

    def __init__(self, seed: str, ids: dict[str, list[str]]) -> None:
        self.random = random.Random(seed)
        self.ids = [id for of_kind in ids.values() for id in of_kind]
        self.by_name = ids

    def params(self, name: str) -> dict[str, str]:
        flat: dict[str, str] = {}
        self._hash(resolve_params(name), "", flat, depth=0)
        return flat

    def _hash(self, params: type, path: str, flat: dict[str, str], depth: int) -> None:
        hints = typing_extensions.get_type_hints(params, localns=_NAMESPACE, include_extras=True)
        for name, hint in hints.items():
            if name in _OPTION_KEYS or name == "expand":
                continue
            optional = get_origin(hint) in _OPTIONAL
            if optional and self.random.random() > (0.3 if depth == 0 else 0.4):
                continue
            wire = name.rstrip("_")
            self._value(
                get_args(hint)[0] if optional else hint, f"{path}[{wire}]" if path else wire, flat, depth
            )

    def _value(self, hint: Any, path: str, flat: dict[str, str], depth: int) -> None:
        if get_origin(hint) in (Union, types.UnionType):
            hint = self.random.choice(get_args(hint))
        origin = get_origin(hint)
        if origin in (Literal, typing_extensions.Literal):
            flat[path] = str(self.random.choice(get_args(hint)))
        elif typing_extensions.is_typeddict(hint):
            if depth < 3:
                self._hash(hint, path, flat, depth + 1)
        elif origin is list:
            for index in range(self.random.randint(0, 2)):
                self._value(get_args(hint)[0], f"{path}[{index}]", flat, depth + 1)
        elif isinstance(hint, type) and hint in (str, int, bool, float, Decimal):
            flat[path] = self._scalar(hint, path)
        else:  # free-form hashes
            flat[f"{path}[{self.random.choice('ab')}]"] = self.random.choice(["x", "", "17"])

    def _scalar(self, kind: type, path: str) -> str:
        if kind is bool:
            return self.random.choice(["true", "false"])
        if kind is int:
            return str(self.random.choice([0, 1, 2, 7, 100, -1, 1_800_000_000, 1_900_000_000, 10**12]))
        if kind in (float, Decimal):
            return self.random.choice(["0", "0.000000000001", "12.5", "-3", "99999999999"])
        name = path.rstrip("]").rpartition("[")[2] or path
        if name in self.by_name and self.random.random() < 0.8:
            return self.random.choice(self.by_name[name])
        return self.random.choice([*self.ids, "usd", "usd", "text", "é", "0"])


@pytest.fixture(scope="module")
def populated(sandbox_process: SandboxProcess) -> tuple[SandboxProcess, dict[str, list[str]]]:
    """A sandbox with some of everything, and the ids in it under the names that parameters give them."""
    sandbox_process.reset()
    return sandbox_process, _populate(sandbox_process)


def _populate(running: SandboxProcess) -> dict[str, list[str]]:
    def post(path: str, **fields: str) -> str:
        answer = running.request("POST", path, fields)
        assert answer.status == 200, answer.body
        return str(answer.body["id"])

    def monthly(**more: str) -> str:
        return post("/v1/prices", product=product, currency="usd", **{"recurring[interval]": "month"}, **more)

    clock = post("/v1/test_helpers/test_clocks", frozen_time="1790000000")
    customer = post("/v1/customers", test_clock=clock, payment_method="pm_card_visa", email="a@example.com",
                    **{"invoice_settings[default_payment_method]": "pm_card_visa"})  # fmt: skip
    product = post("/v1/products", name="Seats")
    meter = post("/v1/billing/meters", display_name="Calls", event_name="calls",
                 **{"default_aggregation[formula]": "sum"})  # fmt: skip
    price = monthly(unit_amount="500")
    metered = monthly(
        unit_amount_decimal="0.25", **{"recurring[usage_type]": "metered", "recurring[meter]": meter}
    )
    subscription = post(
        "/v1/subscriptions", customer=customer, **{"items[0][price]": price, "items[1][price]": metered}
    )
    item = running.request("GET", f"/v1/subscriptions/{subscription}").body["items"]["data"][0]["id"]
    invoice_item = post("/v1/invoiceitems", customer=customer, amount="900", currency="usd")
    draft = post("/v1/invoices", customer=customer)
    opened = running.request("GET", "/v1/invoices?limit=1").body["data"][0]["id"]
    intent = post("/v1/payment_intents", amount="500", currency="usd", customer=customer,
                  payment_method="pm_card_visa", confirm="true")  # fmt: skip
    setup = post("/v1/setup_intents", customer=customer, payment_method="pm_card_visa")
    method = running.request("GET", f"/v1/payment_methods?customer={customer}").body["data"][0]["id"]
    charge = running.request("GET", "/v1/charges?limit=1").body["data"][0]["id"]
    coupon = post("/v1/coupons", percent_off="10", duration="forever")
    return {
        "customer": [customer],
        "product": [product],
        "price": [price, metered],
        "subscription": [subscription],
        "subscription_exposed_id": [subscription],
        "subscription_item": [item],
        "item": [item],
        "id": [meter, product, item, price],
        "invoice": [draft, opened],
        "invoiceitem": [invoice_item],
        "invoice_item": [invoice_item],
        "intent": [intent, setup],
        "payment_intent": [intent],
        "charge": [charge],
        "payment_method": [method, "pm_card_visa", "pm_card_chargeCustomerFail"],
        "default_payment_method": [method],
        "coupon": [coupon],
        "test_clock": [clock],
        "currency": ["usd", "eur", "jpy"],
        "event_name": ["calls"],
        "meter": [meter],
    }


@pytest.mark.parametrize("operation", API, ids=lambda o: f"{o.method} {o.path}")
def test_typed_nonsense_never_breaks_an_operation(
    populated: tuple[SandboxProcess, dict[str, list[str]]], operation: Operation
) -> None:
    running, ids = populated
    for attempt in range(ROUNDS):
        maker = Maker(f"{operation.method} {operation.path} {attempt}", ids)
        path = operation.path
        for name in operation.names:
            path = path.replace("{" + name + "}", maker.random.choice(ids.get(name, ["none"])))
        if operation.method == "DELETE" and attempt < ROUNDS - 1:
            path = path.rpartition("/")[0] + "/none"
        form = maker.params(operation.params) if operation.params else {}
        encoded = urllib.parse.urlencode(form)
        if operation.method == "POST":
            answer = running.request("POST", path, encoded)
        else:
            answer = running.request(operation.method, f"{path}?{encoded}")
        assert answer.status in (200, 400, 401, 402, 403, 404), (path, form, answer.body)
        if answer.status == 200 and path.startswith("/v1") and answer.body.get("object") != "list":
            absent = [
                problem
                for problem in shape_problems(answer.body)
                if problem.endswith((": missing", ": null"))
            ]
            assert absent == [], (path, form)
