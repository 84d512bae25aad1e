"""The meter event stream: a session's token for many requests, renewed in time and when Stripe says so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from billing_worker import gateway
from billing_worker.gateway import MeterEventReport
from billing_worker.gateway.meter_stream import StreamSessions

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)


class Ticks:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_report(customer: str, number: int, value: int = 3) -> MeterEventReport:
    return MeterEventReport(
        event_name="impressions_st",
        customer=customer,
        value=value,
        identifier=f"5001:2026-10-05:ST:{number}",
        at=datetime(2026, 10, 5, 12, tzinfo=UTC),
    )


@pytest.fixture
def world(sandbox) -> tuple[gateway.Meter, gateway.Customer]:
    clock = gateway.create_test_clock(frozen_at=datetime(2026, 10, 20, tzinfo=UTC), name="c")
    meter = gateway.create_meter(event_name="impressions_st", display_name="ST", idempotency_key="m")
    customer = gateway.create_customer(
        name="Example", email="a@example.com", address=None, metadata={}, test_clock=clock.id, idempotency_key="c"
    )  # fmt: skip
    return meter, customer


def get_total(meter: gateway.Meter, customer: gateway.Customer) -> int:
    november = datetime(2026, 11, 1, tzinfo=UTC)
    summaries = gateway.list_meter_event_summaries(
        meter=meter.id, customer=customer.id, start_at=OCTOBER, end_at=november
    )
    return sum(summary.value for summary in summaries)


def test_a_request_holds_up_to_a_hundred_events(world) -> None:
    meter, customer = world
    gateway.send_meter_events([make_report(customer.id, n) for n in range(100)], sessions=StreamSessions())
    assert get_total(meter, customer) == 300
    for wrong in ([], [make_report(customer.id, n) for n in range(101)]):
        with pytest.raises(ValueError, match="1 to 100"):
            gateway.send_meter_events(wrong)


def test_a_repeated_identifier_is_dropped_without_a_word(world) -> None:
    meter, customer = world
    sessions = StreamSessions()
    gateway.send_meter_events([make_report(customer.id, 1)], sessions=sessions)
    gateway.send_meter_events([make_report(customer.id, 1)], sessions=sessions)
    assert get_total(meter, customer) == 3


def test_a_token_is_kept_and_renewed_before_it_ends(world) -> None:
    ticks = Ticks()
    sessions = StreamSessions(clock=ticks)
    first = sessions.get_token()
    ticks.now += 13 * 60
    assert sessions.get_token() == first
    ticks.now += 60
    assert sessions.get_token() != first


def test_a_token_that_stripe_calls_expired_is_replaced_and_nothing_is_counted_twice(world, sandbox) -> None:
    meter, customer = world
    sessions = StreamSessions()
    first = sessions.get_token()
    sandbox.control("POST", "/_sandbox/meter_event_sessions/expire")
    gateway.send_meter_events([make_report(customer.id, 1, value=7)], sessions=sessions)
    assert sessions.get_token() != first
    assert get_total(meter, customer) == 7


def test_without_a_session_nothing_was_on_its_way(world, sandbox) -> None:
    _, customer = world
    sandbox.control(
        "POST", "/_sandbox/faults", {"kind": "500_before", "path": "/v2/billing/meter_event_session"}
    )
    with pytest.raises(gateway.GatewayUnavailable) as failed:
        gateway.send_meter_events([make_report(customer.id, 1)], sessions=StreamSessions())
    assert not failed.value.outcome_unknown


def test_an_error_of_the_stream_leaves_the_outcome_open(world, sandbox) -> None:
    meter, customer = world
    sandbox.control(
        "POST", "/_sandbox/faults", {"kind": "500_after", "path": "/v2/billing/meter_event_stream"}
    )
    with pytest.raises(gateway.GatewayUnavailable) as failed:
        gateway.send_meter_events([make_report(customer.id, 1)], sessions=StreamSessions())
    assert failed.value.outcome_unknown
    assert get_total(meter, customer) == 3


@pytest.mark.parametrize(
    ("settings_given", "expected"),
    [
        ({"STRIPE_API_BASE": "https://api.stripe.com"}, "https://meter-events.stripe.com"),
        ({"STRIPE_API_BASE": "http://127.0.0.1:12111/"}, "http://127.0.0.1:12111"),
        (
            {"STRIPE_API_BASE": "http://127.0.0.1:1", "STRIPE_METER_EVENTS_BASE": "http://127.0.0.1:2/"},
            "http://127.0.0.1:2",
        ),
    ],
)
def test_the_stream_has_an_address_of_its_own(
    settings: Any, settings_given: dict[str, str], expected: str
) -> None:
    unset: dict[str, str | None] = {"STRIPE_METER_EVENTS_BASE": None}
    assert settings.ENV.model_copy(update=unset | settings_given).meter_events_base == expected
