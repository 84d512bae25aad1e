"""Tax ids of customers: made, looked up, deleted, and on invoices as they were at finalization."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.sandbox.process import SandboxProcess


def _status(sandbox: SandboxProcess, customer: str, tax_id: str) -> str:
    found = sandbox.client.v1.customers.tax_ids.retrieve(customer, tax_id)
    assert found.verification is not None
    return found.verification.status


def test_a_tax_id_is_made_listed_expanded_and_deleted(sandbox: SandboxProcess) -> None:
    v1 = sandbox.client.v1
    customer = v1.customers.create(
        {"name": "Ada", "tax_id_data": [{"type": "us_ein", "value": "12-3456789"}]}
    )
    made = v1.customers.tax_ids.create(customer.id, {"type": "ch_vat", "value": "CHE-000.000.000 MWST"})
    assert (made.object, made.country, made.customer) == ("tax_id", "CH", customer.id)
    assert made.verification is not None
    assert made.verification.status == "unavailable"
    values = [found.value for found in v1.customers.tax_ids.list(customer.id).data]
    assert values == ["CHE-000.000.000 MWST", "12-3456789"], "newest first"
    assert "tax_ids" not in sandbox.request("GET", f"/v1/customers/{customer.id}").body
    expanded = v1.customers.retrieve(customer.id, {"expand": ["tax_ids"]}).tax_ids
    assert expanded is not None
    assert [found.value for found in expanded.data] == values
    assert v1.customers.tax_ids.delete(customer.id, made.id).deleted is True
    assert len(v1.customers.tax_ids.list(customer.id).data) == 1
    with pytest.raises(stripe.InvalidRequestError) as gone:
        v1.customers.tax_ids.delete(customer.id, made.id)
    assert (gone.value.http_status, gone.value.code) == (404, "resource_missing")
    types = [name for name in sandbox.event_types() if name.startswith("customer.tax_id")]
    assert types == ["customer.tax_id.created", "customer.tax_id.created", "customer.tax_id.deleted"]


@pytest.mark.parametrize(
    ("value", "status"),
    [("DE000000000", "verified"), ("DE111111111", "unverified"), ("DE222222222", "pending")],
)
def test_a_register_is_asked(sandbox: SandboxProcess, value: str, status: str) -> None:
    v1 = sandbox.client.v1
    customer = v1.customers.create({"name": "Ada"})
    made = v1.customers.tax_ids.create(customer.id, {"type": "eu_vat", "value": value})
    assert made.verification is not None
    assert made.verification.status == "pending"
    # The answer of the register follows the request in the sandbox's one loop.
    assert _status(sandbox, customer.id, made.id) == status
    updates = [event for event in sandbox.events() if event.type == "customer.tax_id.updated"]
    assert len(updates) == (status != "pending")


@pytest.mark.parametrize(
    ("kind", "value"), [("eu_vat", "DE123"), ("us_ein", "1"), ("gb_vat", "DE123456789"), ("al_tin", "?")]
)
def test_a_wrong_format_is_refused_and_nothing_is_kept(
    sandbox: SandboxProcess, kind: Any, value: str
) -> None:
    v1 = sandbox.client.v1
    customer = v1.customers.create({"name": "Ada"})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        v1.customers.tax_ids.create(customer.id, {"type": kind, "value": value})
    assert (refused.value.code, refused.value.param) == ("tax_id_invalid", "value")
    assert refused.value.user_message == f"Invalid value for {kind}."
    with pytest.raises(stripe.InvalidRequestError):
        v1.customers.create({"tax_id_data": [{"type": kind, "value": value}]})
    assert len(v1.customers.list().data) == 1
    answer = sandbox.request(
        "POST", f"/v1/customers/{customer.id}/tax_ids", {"type": "mars_vat", "value": "1"}
    )
    assert answer.status == 400


def test_a_finalized_invoice_keeps_the_tax_ids_it_had(sandbox: SandboxProcess) -> None:
    v1 = sandbox.client.v1
    customer = v1.customers.create(
        {"name": "Ada", "tax_id_data": [{"type": "eu_vat", "value": "DE000000000"}]}
    )
    item: Any = {"customer": customer.id, "amount": 900, "currency": "eur"}
    v1.invoice_items.create(item)
    terms: Any = {
        "customer": customer.id, "pending_invoice_items_behavior": "include",
        "collection_method": "send_invoice", "days_until_due": 3,
    }  # fmt: skip
    invoice = v1.invoices.create(terms)
    old = v1.customers.tax_ids.list(customer.id).data[0]
    v1.customers.tax_ids.create(customer.id, {"type": "eu_vat", "value": "DE123456789"})
    v1.customers.tax_ids.delete(customer.id, old.id)
    v1.customers.update(customer.id, {"name": "Ada Ltd"})
    final = v1.invoices.finalize_invoice(invoice.id)
    assert final.customer_tax_ids is not None
    assert [found.value for found in final.customer_tax_ids] == ["DE123456789"], "as at finalization"
    v1.customers.tax_ids.delete(customer.id, v1.customers.tax_ids.list(customer.id).data[0].id)
    v1.customers.update(customer.id, {"name": "Somebody else"})
    later = v1.invoices.retrieve(invoice.id)
    assert later.customer_tax_ids is not None
    assert ([found.value for found in later.customer_tax_ids], later.customer_name) == (
        ["DE123456789"],
        "Ada Ltd",
    )


def test_a_deleted_customer_s_tax_ids_are_gone(sandbox: SandboxProcess) -> None:
    v1 = sandbox.client.v1
    customer = v1.customers.create({"tax_id_data": [{"type": "us_ein", "value": "12-3456789"}]})
    v1.customers.delete(customer.id)
    assert sandbox.request("GET", f"/v1/customers/{customer.id}/tax_ids").status == 404
