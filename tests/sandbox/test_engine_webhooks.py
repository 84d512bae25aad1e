"""Webhook endpoints, signed deliveries, retries, and the faults that deliveries can have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from tests.sandbox.process import SandboxProcess
from tests.sandbox.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def listen(sandbox: SandboxProcess, url: str, *types: Any) -> stripe.WebhookEndpoint:
    return sandbox.client.v1.webhook_endpoints.create({"url": url, "enabled_events": list(types) or ["*"]})


def test_an_endpoint_shows_its_secret_once(sandbox: SandboxProcess) -> None:
    endpoints = sandbox.client.v1.webhook_endpoints
    made = listen(sandbox, "https://example.com/hook", "customer.created")
    assert str(made.secret).startswith("whsec_")
    assert "secret" not in endpoints.retrieve(made.id)
    assert endpoints.update(made.id, {"disabled": True, "enabled_events": ["*"]}).status == "disabled"
    assert [endpoint.id for endpoint in endpoints.list().data] == [made.id]
    assert endpoints.delete(made.id).deleted is True
    assert endpoints.list().data == []


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "ftp://example.com"},
        {"url": "example.com"},
        {"enabled_events[]": "customer.exploded"},
        {"api_version": "2011-01-01"},
    ],
)
def test_endpoints_that_could_not_work_are_refused(sandbox: SandboxProcess, fields: dict[str, str]) -> None:
    good = {"url": "https://example.com", "enabled_events[]": "*"}
    assert sandbox.request("POST", "/v1/webhook_endpoints", {**good, **fields}).status == 400


def test_a_delivery_verifies_with_the_sdk_and_carries_the_event(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    endpoint = listen(sandbox, receiver.url)
    customer = sandbox.client.v1.customers.create({"name": "Zoë"})
    sandbox.wait_for(lambda: receiver.received)
    event = receiver.received[0].event(str(endpoint.secret))
    assert (event.type, event.api_version) == ("customer.created", stripe.api_version)
    assert event.data.object["id"] == customer.id
    assert event.data.object["name"] == "Zoë"
    assert event.pending_webhooks == 1
    with pytest.raises(stripe.SignatureVerificationError):
        receiver.received[0].event("whsec_other")
    sandbox.wait_for(lambda: sandbox.client.v1.events.retrieve(event.id).pending_webhooks == 0)
    assert sandbox.client.v1.events.retrieve(event.id).data.object["name"] == "Zoë"
    assert [row["state"] for row in sandbox.deliveries()] == ["delivered"]


def test_only_wanted_types_reach_an_enabled_endpoint(sandbox: SandboxProcess, receiver: Receiver) -> None:
    endpoint = listen(sandbox, receiver.url, "product.created")
    off = listen(sandbox, receiver.url)
    sandbox.client.v1.webhook_endpoints.update(off.id, {"disabled": True})
    sandbox.client.v1.customers.create()
    sandbox.client.v1.products.create({"name": "Seats"})
    sandbox.wait_for(lambda: receiver.received)
    assert receiver.types(str(endpoint.secret)) == ["product.created"]
    assert len(sandbox.deliveries()) == 1


def test_failures_are_retried_until_a_2xx(sandbox: SandboxProcess, receiver: Receiver) -> None:
    receiver.answers += [500, 404, 301, 204]
    endpoint = listen(sandbox, receiver.url)
    sandbox.client.v1.customers.create()
    sandbox.wait_for(lambda: len(receiver.received) == 4)
    sandbox.wait_for(lambda: sandbox.deliveries()[0]["state"] == "delivered")
    assert [attempt["status"] for attempt in sandbox.deliveries()[0]["attempts"]] == [500, 404, 301, 204]
    assert len({received.event(str(endpoint.secret)).id for received in receiver.received}) == 1


def test_given_up_deliveries_are_found_by_delivery_success(sandbox: SandboxProcess) -> None:
    listen(sandbox, "http://127.0.0.1:9/nobody")
    sandbox.client.v1.customers.create()
    sandbox.wait_for(lambda: sandbox.deliveries()[0]["state"] == "failed")
    row = sandbox.deliveries()[0]
    assert len(row["attempts"]) == 8
    assert row["attempts"][0]["status"] is None
    events = sandbox.client.v1.events
    assert [event.type for event in events.list({"delivery_success": False}).data] == ["customer.created"]
    assert events.list({"delivery_success": True}).data == []


def test_events_filter_by_type_types_and_time(sandbox: SandboxProcess) -> None:
    sandbox.client.v1.customers.create()
    product = sandbox.client.v1.products.create({"name": "Seats"})
    sandbox.client.v1.products.update(product.id, {"name": "Chairs"})
    events = sandbox.client.v1.events
    assert [event.type for event in events.list({"type": "product.*"}).data] == [
        "product.updated",
        "product.created",
    ]
    assert len(events.list({"types": ["customer.created", "product.updated"]}).data) == 2
    updated = events.list({"type": "product.updated"}).data[0]
    assert updated.data.previous_attributes is not None
    assert updated.data.previous_attributes["name"] == "Seats"
    assert events.list({"created": {"gt": updated.created}}).data == []
    assert sandbox.request("GET", "/v1/events?type=a&types[]=b").status == 400


def test_both_secrets_sign_after_a_roll(sandbox: SandboxProcess, receiver: Receiver) -> None:
    endpoint = listen(sandbox, receiver.url)
    rolled = sandbox.request("POST", f"/_sandbox/webhook_endpoints/{endpoint.id}/roll_secret").body
    assert rolled["secret"] != endpoint.secret
    sandbox.client.v1.customers.create()
    sandbox.wait_for(lambda: receiver.received)
    assert receiver.types(str(endpoint.secret)) == receiver.types(rolled["secret"]) == ["customer.created"]


def test_an_event_can_be_sent_again(sandbox: SandboxProcess, receiver: Receiver) -> None:
    endpoint = listen(sandbox, receiver.url)
    sandbox.client.v1.customers.create()
    sandbox.wait_for(lambda: receiver.received)
    event = receiver.received[0].event(str(endpoint.secret))
    assert sandbox.request("POST", f"/_sandbox/events/{event.id}/resend").status == 200
    sandbox.wait_for(lambda: len(receiver.received) == 2)
    assert receiver.received[1].event(str(endpoint.secret)).id == event.id


# -- faults --------------------------------------------------------------------------------------------------------


def test_a_duplicated_delivery_arrives_twice(sandbox: SandboxProcess, receiver: Receiver) -> None:
    endpoint = listen(sandbox, receiver.url)
    sandbox.fault(kind="webhook_duplicate", path="customer.*", times=1)
    sandbox.client.v1.customers.create()
    sandbox.client.v1.products.create({"name": "Seats"})
    sandbox.wait_for(lambda: len(receiver.received) == 3)
    assert sorted(receiver.types(str(endpoint.secret))) == [
        "customer.created",
        "customer.created",
        "product.created",
    ]


def test_a_reordered_delivery_comes_after_the_next(sandbox: SandboxProcess, receiver: Receiver) -> None:
    endpoint = listen(sandbox, receiver.url)
    sandbox.fault(kind="webhook_reorder", times=1, seconds=5)
    sandbox.client.v1.customers.create()
    sandbox.client.v1.products.create({"name": "Seats"})
    sandbox.wait_for(lambda: len(receiver.received) == 2)
    assert receiver.types(str(endpoint.secret)) == ["product.created", "customer.created"]


def test_a_delayed_delivery_comes_later(sandbox: SandboxProcess, receiver: Receiver) -> None:
    endpoint = listen(sandbox, receiver.url)
    sandbox.fault(kind="webhook_delay", path="customer.created", seconds=3)
    sandbox.client.v1.customers.create()
    sandbox.client.v1.products.create({"name": "Seats"})
    sandbox.wait_for(lambda: len(receiver.received) == 2)
    assert receiver.types(str(endpoint.secret)) == ["product.created", "customer.created"]


def test_dropped_and_badly_signed_deliveries(sandbox: SandboxProcess, receiver: Receiver) -> None:
    endpoint = listen(sandbox, receiver.url)
    sandbox.fault(kind="webhook_drop", path="customer.created", times=1)
    sandbox.fault(kind="webhook_bad_signature", path="product.created", times=1)
    sandbox.client.v1.customers.create()
    sandbox.client.v1.products.create({"name": "Seats"})
    sandbox.wait_for(lambda: receiver.received)
    with pytest.raises(stripe.SignatureVerificationError):
        receiver.received[0].event(str(endpoint.secret))
    assert sandbox.event_types() == ["customer.created", "product.created"]
    assert {row["event_type"]: row["state"] for row in sandbox.deliveries()}["customer.created"] == "dropped"
