"""`POST /webhook/stripe`: what is stored, what is refused, what is answered."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pydantic import SecretStr

from billing_worker import gateway
from billing_worker.alerts.metrics import WEBHOOKS_RECEIVED, WEBHOOKS_REFUSED
from billing_worker.alerts.models import Alert
from billing_worker.webhooks.models import InboxEvent
from billing_worker.webhooks.services import replay_events
from billing_worker.webhooks.states import InboxState
from tests.mirror.samples import NOVEMBER, make_customer, make_event, make_invoice

pytestmark = pytest.mark.django_db


def count_refused(reason: str) -> float:
    return float(WEBHOOKS_REFUSED.labels(reason=reason)._value.get())


def test_an_event_is_stored_before_it_is_acknowledged(deliver, kicks) -> None:
    event = make_event("invoice.finalized", make_invoice())
    answer = deliver(event)
    assert (answer.status_code, answer.json()) == (200, {"received": True, "duplicate": False})
    row = InboxEvent.objects.get()
    assert row.event_id == event["id"]
    assert (row.type, row.object_id, row.customer) == ("invoice.finalized", "in_1", "cus_1")
    assert (row.state, row.attempts, row.source) == (InboxState.RECEIVED, 0, "webhook")
    assert row.event_created_at == datetime.fromtimestamp(NOVEMBER, UTC)
    assert json.loads(row.payload) == event
    assert kicks == [("webhooks.process_inbox",)]


def test_a_redelivery_is_acknowledged_and_not_stored_again(deliver, kicks) -> None:
    event = make_event("invoice.finalized", make_invoice())
    deliver(event)
    answer = deliver(event)
    assert (answer.status_code, answer.json()) == (200, {"received": True, "duplicate": True})
    assert InboxEvent.objects.count() == 1
    assert len(kicks) == 1


def test_a_type_that_nothing_takes_is_kept_as_ignored_and_counted(deliver, kicks) -> None:
    before = WEBHOOKS_RECEIVED.labels(type="other", outcome="ignored")._value.get()
    answer = deliver(make_event("payout.paid", {"id": "po_1", "object": "payout"}))
    assert answer.json() == {"received": True, "duplicate": False}
    row = InboxEvent.objects.get()
    assert (row.state, row.next_attempt_at) == (InboxState.IGNORED, None)
    assert WEBHOOKS_RECEIVED.labels(type="other", outcome="ignored")._value.get() == before + 1
    assert kicks == []


@pytest.mark.parametrize(
    "type_",
    [
        *(f"invoice.{verb}" for verb in "created updated finalized paid payment_failed voided".split()),
        "invoice.marked_uncollectible",
        *(f"customer.subscription.{verb}" for verb in "created updated deleted trial_will_end".split()),
        "checkout.session.completed",
        *(f"credit_note.{verb}" for verb in "created updated voided".split()),
        *(
            "customer.created",
            "customer.deleted",
            "customer.tax_id.created",
            "product.updated",
            "price.created",
        ),
    ],
)
def test_the_types_of_the_contract_are_taken(deliver, type_) -> None:
    deliver(make_event(type_, make_customer()))
    assert InboxEvent.objects.get().state == InboxState.RECEIVED


@pytest.mark.parametrize("signature", ["", "t=1,v1=00", "nonsense"])
def test_a_bad_signature_leaves_nothing_but_a_counter(deliver, kicks, signature) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        answer = deliver(make_event("invoice.paid", make_invoice()), signature=signature)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "signature_rejected"
    assert len(queries) == 0
    assert kicks == []


def test_refusals_are_counted_by_reason(deliver) -> None:
    before = count_refused("missing"), count_refused("mismatch")
    deliver({}, signature="")
    deliver({}, signature=f"t={NOVEMBER},v1=00")
    assert (count_refused("missing"), count_refused("mismatch")) == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_an_old_or_future_signature_is_refused(deliver, minutes) -> None:
    body = json.dumps(make_event("invoice.paid", make_invoice())).encode()
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    signature = gateway.sign_payload(body=body, secret="whsec_tests", at=at)
    assert deliver(body, signature=signature).status_code == 400
    assert not InboxEvent.objects.exists()


def test_both_secrets_of_a_rotation_are_live(deliver, settings) -> None:
    from pydantic import SecretStr

    settings.ENV = settings.ENV.model_copy(
        update={"STRIPE_WEBHOOK_SECRET": [SecretStr("whsec_new"), SecretStr("whsec_tests")]}
    )
    for secret in ("whsec_new", "whsec_tests"):
        body = json.dumps(make_event("invoice.paid", make_invoice())).encode()
        signature = gateway.sign_payload(body=body, secret=secret, at=datetime.now(UTC))
        assert deliver(body, signature=signature).status_code == 200
    assert InboxEvent.objects.count() == 2


def test_the_signature_covers_the_raw_bytes(deliver) -> None:
    event = make_event("customer.updated", make_customer(name="Ümlaut GmbH"))
    body = json.dumps(event, ensure_ascii=False, indent=3).encode()
    assert deliver(body).status_code == 200
    assert InboxEvent.objects.get().payload == body.decode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"not json",
        b'{"object":"invoice","id":"in_1"}',
        b'{"object":"event"}',
        b'{"object":"event","id":5,"type":"a","created":1,"data":{"object":{}}}',
        b'{"object":"event","id":"evt_1","type":"a","created":null,"data":{"object":{}}}',
        b'{"object":"event","id":"evt_1","type":"a","created":1e99,"data":{"object":{}}}',
        b'{"object":"event","id":"evt_1","type":"a","created":1,"data":{"object":"in_1"}}',
        b'{"object":"event","id":"evt_1","type":"a","created":1,"data":null}',
        b'{"object":"v2.core.event","id":"evt_1","type":"a","created":"yesterday"}',
        b'{"object":"event","id":"' + b"e" * 65 + b'","type":"a","created":1,"data":{"object":{}}}',
        b'{"object":["event"]}',
    ],
)
def test_signed_bodies_that_are_no_events_are_refused(deliver, body) -> None:
    assert deliver(body).status_code == 400
    assert not InboxEvent.objects.exists()


def test_thin_events_are_kept(deliver) -> None:
    thin = {
        "object": "v2.core.event",
        "created": "2026-11-01T01:00:00.123Z",
        "livemode": False,
        "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
    }
    deliver({**thin, "id": "evt_thin_1", "type": "v1.billing.meter.error_report_triggered"})
    deliver({**thin, "id": "evt_thin_2", "type": "v2.core.account.updated"})
    rows = {row.event_id: row for row in InboxEvent.objects.all()}
    assert rows["evt_thin_1"].state == InboxState.RECEIVED
    assert rows["evt_thin_1"].object_id == "mtr_1"
    assert rows["evt_thin_2"].state == InboxState.IGNORED


def test_a_body_past_the_cap_is_refused_unread(deliver) -> None:
    before = count_refused("too_large")
    answer = deliver(b"x" * 1_000_001)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert count_refused("too_large") == before + 1


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch"])
def test_only_post(client, method) -> None:
    assert getattr(client, method)("/webhook/stripe").status_code == 405


def test_a_broker_that_is_down_does_not_fail_the_delivery(
    client, monkeypatch, django_capture_on_commit_callbacks
) -> None:
    from celery import current_app
    from kombu.exceptions import OperationalError

    def refuse(*args: object, **options: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(current_app, "send_task", refuse)
    body = json.dumps(make_event("invoice.paid", make_invoice())).encode()
    signature = gateway.sign_payload(body=body, secret="whsec_tests", at=datetime.now(UTC))
    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post(
            "/webhook/stripe", body, content_type="application/json", headers={"Stripe-Signature": signature}
        )
    assert answer.status_code == 200
    assert InboxEvent.objects.get().state == InboxState.RECEIVED


def test_a_burst_does_not_flood_the_broker(deliver, kicks) -> None:
    for number in range(80):
        deliver(make_event("customer.updated", make_customer(id=f"cus_{number}")))
    # Each of the first 32, then the 50th and the 75th.
    assert kicks == [("webhooks.process_inbox",)] * 34


def test_a_delivery_costs_few_queries(deliver) -> None:
    with CaptureQueriesContext(connection) as queries:
        deliver(make_event("invoice.paid", make_invoice()))
    # Savepoint, insert, release, count of what waits.
    assert len(queries) <= 4


@pytest.mark.parametrize(
    ("key", "is_live"), [("sk_live_1", False), ("rk_live_1", False), ("sk_test_1", True)]
)
def test_an_event_of_the_other_mode_is_kept_ignored_and_alerted(
    deliver, kicks, settings, key, is_live
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"STRIPE_SECRET_KEY": SecretStr(key)})
    answer = deliver(make_event("invoice.paid", make_invoice()) | {"livemode": is_live})
    assert answer.status_code == 200
    row = InboxEvent.objects.get()
    assert (row.state, row.is_live, row.next_attempt_at) == (InboxState.IGNORED, is_live, None)
    alert = Alert.objects.get()
    assert kicks == [("alerts.notify", alert.pk)]
    assert (alert.name, alert.severity) == ("webhook_wrong_mode", "critical")
    assert row.event_id in alert.detail
    assert replay_events(events=InboxEvent.objects.all(), now=datetime.now(UTC)) == 0


@pytest.mark.parametrize(("key", "is_live"), [("sk_live_1", True), ("sk_test_1", False), (None, True)])
def test_an_event_of_our_mode_is_taken(deliver, kicks, settings, key, is_live) -> None:
    settings.ENV = settings.ENV.model_copy(update={"STRIPE_SECRET_KEY": SecretStr(key) if key else None})
    deliver(make_event("invoice.paid", make_invoice()) | {"livemode": is_live})
    assert InboxEvent.objects.get().state == InboxState.RECEIVED
    assert not Alert.objects.exists()
    InboxEvent.objects.update(state=InboxState.IGNORED)
    assert replay_events(events=InboxEvent.objects.all(), now=datetime.now(UTC)) == 1
