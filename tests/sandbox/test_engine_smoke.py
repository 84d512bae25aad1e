"""The engine through the SDK: create, read, list, delete, and refused parameters."""

from __future__ import annotations

import pytest
import stripe

from tests.sandbox.process import SandboxProcess


def test_customer_lives_through_create_update_list_and_delete(sandbox: SandboxProcess) -> None:
    customers = sandbox.client.v1.customers
    made = customers.create({"email": "ada@example.com", "metadata": {"account": "7"}})
    assert made.id.startswith("cus_")
    assert made.balance == 0
    customers.update(made.id, {"name": "Ada", "metadata": {"account": "", "plan": "gold"}})
    read = customers.retrieve(made.id)
    assert read.name == "Ada"
    assert read.metadata is not None
    assert read.metadata.to_dict() == {"plan": "gold"}
    assert [customer.id for customer in customers.list({"email": "ada@example.com"}).data] == [made.id]
    assert customers.delete(made.id).deleted is True
    assert customers.retrieve(made.id).deleted is True
    assert customers.list().data == []
    assert sandbox.event_types() == ["customer.created", "customer.updated", "customer.deleted"]


def test_unknown_parameter_is_refused_by_name(sandbox: SandboxProcess) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        sandbox.client.raw_request("post", "/v1/customers", emial="ada@example.com")
    assert refused.value.http_status == 400
    assert refused.value.code == "parameter_unknown"
    assert refused.value.param == "emial"
