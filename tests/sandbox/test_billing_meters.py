"""Meters, their events and summaries, as the SDK sees them."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from tests.sandbox.billing_world import World, at
from tests.sandbox.process import SandboxProcess
from tests.sandbox.receiver import Receiver

NOW = at(2026, 10, 20, 12)
DAY = 86_400


@pytest.fixture
def world(sandbox: SandboxProcess) -> World:
    return World(sandbox, NOW)


def summaries(
    world: World, meter: stripe.billing.Meter, customer: stripe.Customer, **params: Any
) -> list[tuple[int, int]]:
    given = {"customer": customer.id, "start_time": at(2026, 10, 1), "end_time": at(2026, 11, 1), **params}
    page = world.v1.billing.meters.event_summaries.list(meter.id, given)  # type: ignore[arg-type]
    return [(summary.start_time, int(summary.aggregated_value)) for summary in page.data]


def test_a_meter_is_immutable_but_for_its_name(world: World) -> None:
    meter = world.meter()
    renamed = world.v1.billing.meters.update(meter.id, {"display_name": "Views"})
    assert (renamed.display_name, renamed.event_name) == ("Views", "impressions")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        world.v1.billing.meters.update(meter.id, {"event_name": "views"})  # type: ignore[arg-type]
    assert refused.value.code == "parameter_unknown"


def test_event_names_are_unique_among_active_meters(world: World) -> None:
    meter = world.meter()
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        world.meter()
    off = world.v1.billing.meters.deactivate(meter.id)
    assert (off.status, off.status_transitions.deactivated_at is not None) == ("inactive", True)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        world.use(world.customer(), 1)
    assert refused.value.code == "archived_meter"
    second = world.meter()
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.billing.meters.reactivate(meter.id)
    world.v1.billing.meters.deactivate(second.id)
    assert world.v1.billing.meters.reactivate(meter.id).status == "active"
    assert [found.id for found in world.v1.billing.meters.list({"status": "active"}).data] == [meter.id]


def test_an_event_answers_what_was_sent(world: World) -> None:
    world.meter()
    customer = world.customer()
    event = world.use(customer, "00042", NOW - 60, identifier="acct-7:2026-10:ST")
    assert (event.identifier, event.timestamp, event.payload["value"]) == (
        "acct-7:2026-10:ST",
        NOW - 60,
        "00042",
    )
    assert "id" not in event
    assert world.use(customer, 1).timestamp == NOW


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"event_name": "unknown"}, "no_meter", "event_name"),
        ({"customer": "cus_none"}, "meter_event_customer_not_found", "payload[stripe_customer_id]"),
        ({"payload": {"value": "1"}}, "meter_event_no_customer_defined", "payload[stripe_customer_id]"),
        ({"value": "1.5"}, "meter_event_invalid_value", "payload[value]"),
        ({"value": "1e3"}, "meter_event_invalid_value", "payload[value]"),
        ({"value": ""}, "meter_event_value_not_found", "payload[value]"),
        ({"value": "9" * 16}, "meter_event_value_too_many_digits", "payload[value]"),
        ({"timestamp": NOW - 35 * DAY - 1}, "timestamp_too_far_in_past", "timestamp"),
        ({"timestamp": NOW + 301}, "timestamp_in_future", "timestamp"),
        ({"identifier": "x" * 101}, None, "identifier"),
    ],
)  # fmt: skip
def test_bad_events_are_refused(world: World, change: dict[str, Any], code: str | None, param: str) -> None:
    world.meter()
    customer = world.customer()
    change = dict(change)
    payload = {"stripe_customer_id": change.pop("customer", customer.id), "value": change.pop("value", "1")}
    given: Any = {"event_name": "impressions", "payload": payload, **change}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        world.v1.billing.meter_events.create(given)
    assert (refused.value.http_status, refused.value.code, refused.value.param) == (400, code, param)


def test_the_window_follows_the_customers_clock(world: World) -> None:
    meter, customer = world.meter(), world.customer()
    world.use(customer, 1, NOW - 35 * DAY)
    world.use(customer, 2, NOW + 300)
    world.advance(NOW + 40 * DAY)
    with pytest.raises(stripe.InvalidRequestError):
        world.use(customer, 4, NOW)
    world.use(customer, 8, NOW + 6 * DAY)
    totals = summaries(world, meter, customer, start_time=at(2026, 9, 1), end_time=at(2026, 12, 1))
    assert totals == [(at(2026, 9, 1), 11)]


def test_a_repeated_identifier_is_refused_and_counted_once(world: World) -> None:
    meter, customer = world.meter(), world.customer()
    world.use(customer, 5, identifier="once")
    with pytest.raises(stripe.InvalidRequestError, match="once") as refused:
        world.use(customer, 5, identifier="once")
    assert (refused.value.http_status, refused.value.code) == (400, "duplicate_meter_event")
    assert summaries(world, meter, customer) == [(at(2026, 10, 1), 5)]


def test_an_adjustment_cancels_one_event(world: World) -> None:
    meter, customer = world.meter(), world.customer()
    world.use(customer, 5, identifier="keep")
    world.use(customer, 7, identifier="drop")
    adjust: Any = {"event_name": "impressions", "type": "cancel", "cancel": {"identifier": "drop"}}
    assert world.v1.billing.meter_event_adjustments.create(adjust).status == "pending"
    assert summaries(world, meter, customer) == [(at(2026, 10, 1), 5)]
    with pytest.raises(stripe.InvalidRequestError, match="already cancelled"):
        world.v1.billing.meter_event_adjustments.create(adjust)
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.billing.meter_event_adjustments.create(adjust | {"cancel": {"identifier": "unknown"}})


def test_summaries_group_by_hour_and_day(world: World) -> None:
    meter, customer, other = world.meter(), world.customer(), world.customer()
    for moment, value in (
        (at(2026, 10, 1), 1),
        (at(2026, 10, 1, 0, 59), 2),
        (at(2026, 10, 1, 1), 4),
        (at(2026, 10, 2, 23, 59), 8),
        (at(2026, 9, 30, 23, 59), 16),
    ):
        world.use(customer, value, moment)
    world.use(other, 100, at(2026, 10, 1))
    assert summaries(world, meter, customer) == [(at(2026, 10, 1), 15)]
    days = summaries(world, meter, customer, value_grouping_window="day")
    assert days == [(at(2026, 10, 2), 8), (at(2026, 10, 1), 7)]
    hours = summaries(world, meter, customer, value_grouping_window="hour", end_time=at(2026, 10, 2))
    assert hours == [(at(2026, 10, 1, 1), 4), (at(2026, 10, 1), 3)]
    part = summaries(world, meter, customer, start_time=at(2026, 10, 1, 0, 1), end_time=at(2026, 10, 1, 1, 1))
    assert part == [(at(2026, 10, 1, 0, 1), 6)]
    with pytest.raises(stripe.InvalidRequestError, match="minute boundaries"):
        summaries(world, meter, customer, start_time=at(2026, 10, 1) + 1)


def test_a_stream_takes_batches_and_drops_what_is_wrong(world: World) -> None:
    meter, customer = world.meter(), world.customer()
    client = stripe.StripeClient("sk_test_sandbox", base_addresses={"api": world.sandbox.url})
    session = client.v2.billing.meter_event_session.create()
    stream = stripe.StripeClient(
        session.authentication_token, base_addresses={"meter_events": world.sandbox.url}
    )
    moment = datetime.fromtimestamp(NOW, UTC).isoformat().replace("+00:00", "Z")
    events: Any = [
        {"event_name": "impressions", "payload": {"stripe_customer_id": customer.id, "value": "3"}, "timestamp": moment,
         "identifier": f"batch-{n}"}
        for n in range(99)
    ]  # fmt: skip
    events.append({"event_name": "impressions", "payload": {"stripe_customer_id": "cus_none", "value": "3"}})
    stream.v2.billing.meter_event_stream.create({"events": events})
    assert summaries(world, meter, customer) == [(at(2026, 10, 1), 297)]
    errors = world.sandbox.request("GET", "/_sandbox/meter_event_errors").body["data"]
    assert [error["code"] for error in errors] == ["meter_event_customer_not_found"]
    stranger = stripe.StripeClient("token_unknown", base_addresses={"meter_events": world.sandbox.url})
    with pytest.raises(stripe.StripeError):
        stranger.v2.billing.meter_event_stream.create({"events": events[:1]})


def test_usage_survives_a_restart_in_its_totals(tmp_path: Any) -> None:
    state = str(tmp_path / "state.sqlite3")
    first = SandboxProcess.start("--state", state)
    try:
        world = World(first, NOW)
        meter, customer = world.meter(), world.customer()
        world.use(customer, 5, identifier="before")
    finally:
        first.kill()
    second = SandboxProcess.start("--state", state)
    try:
        world.sandbox, world.v1 = second, second.client.v1
        with pytest.raises(stripe.InvalidRequestError):
            world.use(customer, 5, identifier="before")
        world.use(customer, 6)
        assert summaries(world, meter, customer) == [(at(2026, 10, 1), 11)]
    finally:
        second.kill()


def test_reading_a_month_does_not_walk_its_events(world: World) -> None:
    """A thousand events in one month: a summary costs about as much as any request."""
    meter, customer = world.meter(), world.customer()
    for n in range(1_000):
        form = {
            "event_name": "impressions",
            "payload[stripe_customer_id]": customer.id,
            "payload[value]": "1",
            "timestamp": str(at(2026, 10, 1) + n * 1_000),
        }
        assert world.sandbox.request("POST", "/v1/billing/meter_events", form).status == 200
    simple = full = 0.0
    for _ in range(20):
        started = time.perf_counter()
        assert world.v1.customers.retrieve(customer.id).id == customer.id
        simple += (between := time.perf_counter()) - started
        assert summaries(world, meter, customer) == [(at(2026, 10, 1), 1_000)]
        full += time.perf_counter() - between
    assert full < 10 * simple


def make_streamed(customer: str, identifier: str, **changes: Any) -> dict[str, Any]:
    payload = {"stripe_customer_id": customer, "value": "3"}
    return {"event_name": "impressions", "payload": payload, "identifier": identifier, **changes}


def open_stream(world: World) -> tuple[stripe.StripeClient, stripe.StripeClient]:
    """A client with the account's key, and one with a session's token for the stream."""
    addresses: Any = {"api": world.sandbox.url, "meter_events": world.sandbox.url}
    client = stripe.StripeClient("sk_test_sandbox", base_addresses=addresses)
    session = client.v2.billing.meter_event_session.create()
    return client, stripe.StripeClient(session.authentication_token, base_addresses=addresses)


def test_what_the_stream_refuses_is_told_by_thin_events(world: World) -> None:
    meter, customer = world.meter(), world.customer()
    client, stream = open_stream(world)
    with Receiver() as receiver:
        endpoint = world.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
        good = make_streamed(customer.id, "good", timestamp="2026-10-20T11:00:00Z")
        strangers = [make_streamed("cus_none", f"stranger-{n}") for n in range(12)]
        nameless = make_streamed(customer.id, "nameless", event_name="views")
        stream.v2.billing.meter_event_stream.create({"events": [good, *strangers, nameless, good]})  # type: ignore[list-item]
        world.sandbox.wait_for(lambda: len(receiver.received) == 2, what="two thin events")

    secret = str(endpoint.secret)
    for received in receiver.received:
        told = client.parse_event_notification(received.body, received.headers["stripe-signature"], secret)
        body = json.loads(received.body)
        assert body["object"] == "v2.core.event"
        assert "data" not in body
        event: Any = told.fetch_event()
        if told.type == "v1.billing.meter.no_meter_found":
            assert "related_object" not in body
            assert [kind.code for kind in event.data.reason.error_types] == ["no_meter"]
            assert event.data.reason.error_types[0].sample_errors[0]["request"]["identifier"] == "nameless"
            continue
        assert told.type == "v1.billing.meter.error_report_triggered"
        assert body["related_object"]["id"] == meter.id
        (kind,) = event.data.reason.error_types
        assert (kind.code, kind.error_count, len(kind.sample_errors)) == (
            "meter_event_customer_not_found", 12, 10,
        )  # fmt: skip
    assert summaries(world, meter, customer) == [(at(2026, 10, 1), 3)]
    assert world.sandbox.events("v1.billing.meter.error_report_triggered") == []


def test_a_sessions_token_ends(world: World) -> None:
    world.meter()
    _, stream = open_stream(world)
    event: Any = make_streamed(world.customer().id, "late")
    assert world.sandbox.request("POST", "/_sandbox/meter_event_sessions/expire").body == {"expired": 1}
    with pytest.raises(stripe.TemporarySessionExpiredError) as refused:
        stream.v2.billing.meter_event_stream.create({"events": [event]})
    assert (refused.value.http_status, refused.value.code) == (401, "billing_meter_event_session_expired")


def test_a_counted_event_can_be_refused_later(world: World) -> None:
    meter, customer = world.meter(), world.customer()
    world.use(customer, 5, identifier="5001:2026-10-05:ST")
    answer = world.sandbox.request("POST", "/_sandbox/meter_events/5001:2026-10-05:ST/refuse")
    assert answer.status == 200
    assert summaries(world, meter, customer) in ([], [(at(2026, 10, 1), 0)])
    again = world.sandbox.request("POST", "/_sandbox/meter_events/5001:2026-10-05:ST/refuse")
    assert again.status == 404
