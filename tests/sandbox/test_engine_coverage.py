"""The README's table is the code's, and what the sandbox does not cover it refuses."""

from __future__ import annotations

import re

import pytest

import sandbox.resources  # noqa: F401
from sandbox.engine.faults import REQUEST_KINDS, WEBHOOK_KINDS
from sandbox.engine.params import _compile_fields, resolve_params
from sandbox.engine.routing import OPERATIONS, UNCOVERED
from tests.sandbox.process import ROOT, SandboxProcess

README = (ROOT / "sandbox" / "README.md").read_text()


def test_the_readme_lists_exactly_the_registered_operations() -> None:
    table = README.partition("## Operations")[2]
    listed = set(re.findall(r"^\| `(GET|POST|DELETE) (/[^`]+)` \|", table, re.MULTILINE))
    assert listed == {(operation.method, operation.path) for operation in OPERATIONS}


def test_the_readme_names_every_kind_of_fault() -> None:
    for kind in REQUEST_KINDS + WEBHOOK_KINDS:
        assert f"`{kind}`" in README


def test_refused_parameters_exist_in_the_sdk() -> None:
    for operation in OPERATIONS:
        own = operation.refuses - UNCOVERED
        if own:
            assert operation.params is not None
            fields, _ = _compile_fields(resolve_params(operation.params))
            assert own <= fields.keys(), (operation.method, operation.path, own - fields.keys())


@pytest.mark.parametrize(
    ("path", "form", "param"),
    [
        ("/v1/customers", {"tax[ip_address]": "127.0.0.1"}, "tax"),
        (
            "/v1/payment_intents",
            {"amount": "500", "currency": "usd", "on_behalf_of": "acct_1"},
            "on_behalf_of",
        ),
        (
            "/v1/webhook_endpoints",
            {"url": "https://example.com", "enabled_events[]": "*", "connect": "true"},
            "connect",
        ),
    ],
)
def test_uncovered_parameters_are_refused_rather_than_ignored(
    sandbox: SandboxProcess, path: str, form: dict[str, str], param: str
) -> None:
    answer = sandbox.request("POST", path, form)
    assert answer.status == 400
    assert answer.body["error"]["param"] == param
    assert "does not cover" in answer.body["error"]["message"]


def test_the_account_is_known_by_its_id_only(sandbox: SandboxProcess) -> None:
    account = sandbox.request("GET", "/v1/account").body
    assert sandbox.request("GET", f"/v1/accounts/{account['id']}").body == account
    other = sandbox.request("GET", "/v1/accounts/acct_other")
    assert (other.status, other.body["error"]["code"]) == (403, "account_invalid")


def test_requests_for_another_account_are_refused(sandbox: SandboxProcess) -> None:
    account = sandbox.request("GET", "/v1/account").body["id"]
    assert sandbox.request("GET", "/v1/customers", headers={"Stripe-Account": account}).status == 200
    assert sandbox.request("GET", "/v1/customers", headers={"Stripe-Account": "acct_other"}).status == 403
