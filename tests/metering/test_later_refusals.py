"""What Stripe refuses after it took it comes back to its row: by v1 and by the stream, through the inbox."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from billing_worker import gateway
from billing_worker.alerts.models import Alert
from billing_worker.gateway import MeterEventReport
from billing_worker.webhooks.models import InboxEvent
from billing_worker.webhooks.processing import process_event
from billing_worker.webhooks.services import receive_event
from metering.models import MeterEvent
from metering.states import EventState
from tests.factories import CustomerAccountFactory
from tests.metering.factories import NOW, MeterEventFactory
from tests.sandbox.receiver import Receiver
from tests.support.processes import wait_until

pytestmark = pytest.mark.django_db
AT = datetime(2026, 10, 5, 12, tzinfo=UTC)


@pytest.fixture
def world(sandbox_server, settings):
    sandbox_server.reset()
    settings.ENV = settings.ENV.model_copy(update={"STRIPE_API_BASE": sandbox_server.url})
    gateway.create_meter(event_name="impressions_st", display_name="ST", idempotency_key="m")
    clock = gateway.create_test_clock(frozen_at=datetime(2026, 10, 20, tzinfo=UTC), name="c")
    customer = gateway.create_customer(
        name="Example", email="a@example.com", address=None, metadata={}, test_clock=clock.id, idempotency_key="c"
    )  # fmt: skip
    return sandbox_server, customer


def deliver_next(receiver: Receiver) -> InboxEvent:
    wait_until(lambda: receiver.received, what="a webhook")
    text = receiver.received.pop(0).body.decode()
    assert "data" not in json.loads(text)
    row = receive_event(payload=json.loads(text), text=text, now=NOW).event
    assert row is not None
    assert process_event(inbox_id=row.pk, now=NOW) == "processed"
    return row


def make_sent(customer: str) -> MeterEvent:
    account = CustomerAccountFactory.create(id=5001, stripe_customer_id=customer)
    return MeterEventFactory.create(account=account, state=EventState.SENT, sent_at=NOW)


def test_an_event_of_v1_that_is_refused_later(world):
    sandbox, customer = world
    event = make_sent(customer.id)
    gateway.send_meter_event(
        event_name=event.event_name,
        customer=customer.id,
        value=event.value,
        identifier=event.identifier,
        at=AT,
    )
    with Receiver() as receiver:
        gateway.create_webhook_endpoint(url=receiver.url, events=["*"])
        sandbox.control("POST", f"/_sandbox/meter_events/{event.identifier}/refuse")
        deliver_next(receiver)
    event.refresh_from_db()
    assert event.state == EventState.REJECTED
    assert "refused later by Stripe" in event.reason
    assert Alert.objects.get(name="meter_event_rejected").context["identifiers"] == [event.identifier]


@pytest.mark.parametrize("wrong", [{"customer": "cus_none"}, {"event_name": "views"}])
def test_an_event_of_the_stream_that_is_refused_later(world, wrong):
    _, customer = world
    event = make_sent(customer.id)
    report = {"event_name": event.event_name, "customer": customer.id, **wrong}
    with Receiver() as receiver:
        gateway.create_webhook_endpoint(url=receiver.url, events=["*"])
        gateway.send_meter_events(
            [MeterEventReport(**report, value=event.value, identifier=event.identifier, at=AT)]
        )
        deliver_next(receiver)
    event.refresh_from_db()
    assert event.state == EventState.REJECTED


def test_a_thin_event_that_cannot_be_fetched_is_tried_again(world):
    sandbox, customer = world
    event = make_sent(customer.id)
    report = MeterEventReport(
        event_name="impressions_st",
        customer="cus_none",
        value=event.value,
        identifier=event.identifier,
        at=AT,
    )
    with Receiver() as receiver:
        gateway.create_webhook_endpoint(url=receiver.url, events=["*"])
        gateway.send_meter_events([report])
        wait_until(lambda: receiver.received, what="a webhook")
        text = receiver.received[0].body.decode()
    sandbox.control("POST", "/_sandbox/faults", {"kind": "429", "path": "/v2/core/events/*"})
    row = receive_event(payload=json.loads(text), text=text, now=NOW).event
    assert row is not None
    assert process_event(inbox_id=row.pk, now=NOW) == "retried"
    event.refresh_from_db()
    assert event.state == EventState.SENT
