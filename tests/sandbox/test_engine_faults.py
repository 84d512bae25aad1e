"""Faults on request: what a client sees, and what happened all the same."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.error
from typing import Any

import pytest
import stripe

from tests.sandbox.process import API_KEY, SandboxProcess


def create(sandbox: SandboxProcess, key: str = "k") -> int:
    answer = sandbox.request(
        "POST", "/v1/customers", {"name": "Ada"}, headers={"Idempotency-Key": key}, timeout=60
    )
    return answer.status


def count(sandbox: SandboxProcess) -> int:
    return len(sandbox.client.v1.customers.list().data)


def test_rate_limit_comes_before_the_effect_and_passes(sandbox: SandboxProcess) -> None:
    sandbox.fault(kind="429", method="POST", path="/v1/customers", times=2)
    with pytest.raises(stripe.RateLimitError):
        sandbox.client.v1.customers.create()
    answer = sandbox.request("POST", "/v1/customers", {"name": "Ada"})
    assert (answer.status, answer.body["error"]["code"]) == (429, "rate_limit")
    assert answer.headers["stripe-should-retry"] == "true"
    assert count(sandbox) == 0
    assert create(sandbox) == 200


def test_the_sdks_own_retries_get_past_a_rate_limit(sandbox: SandboxProcess) -> None:
    sandbox.fault(kind="429", method="POST", times=1)
    client = stripe.StripeClient(API_KEY, base_addresses={"api": sandbox.url}, max_network_retries=2)
    assert client.v1.customers.create({"name": "Ada"}).name == "Ada"
    assert count(sandbox) == 1


def test_an_error_before_the_effect_leaves_nothing_and_is_not_replayed(sandbox: SandboxProcess) -> None:
    sandbox.fault(kind="500_before", method="POST", times=1)
    assert create(sandbox) == 500
    assert count(sandbox) == 0
    assert create(sandbox) == 200
    assert count(sandbox) == 1


def test_an_error_after_the_effect_is_replayed_with_its_key(sandbox: SandboxProcess) -> None:
    sandbox.fault(kind="500_after", method="POST", times=1)
    assert create(sandbox) == 500
    assert count(sandbox) == 1
    assert create(sandbox) == 500
    assert count(sandbox) == 1


@pytest.mark.parametrize(("kind", "made"), [("drop_before", 0), ("drop_after", 1)])
def test_a_dropped_connection_is_made_good_by_the_same_key(
    sandbox: SandboxProcess, kind: str, made: int
) -> None:
    sandbox.fault(kind=kind, method="POST", times=1)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError, urllib.error.URLError)):
        create(sandbox)
    assert count(sandbox) == made
    assert create(sandbox) == 200
    assert count(sandbox) == 1


@pytest.mark.parametrize(("kind", "made"), [("timeout_before", 0), ("timeout_after", 1)])
def test_a_silent_connection_times_out(sandbox: SandboxProcess, kind: str, made: int) -> None:
    sandbox.fault(kind=kind, method="POST", times=1, seconds=30)
    impatient = stripe.StripeClient(
        API_KEY,
        base_addresses={"api": sandbox.url},
        max_network_retries=0,
        http_client=stripe.RequestsClient(timeout=0.3),
    )
    with pytest.raises(stripe.APIConnectionError):
        impatient.v1.customers.create({"name": "Ada"}, {"idempotency_key": "slow"})
    sandbox.wait_for(lambda: sandbox.request("GET", "/_sandbox/faults").body["data"][0]["hits"] == 1)
    sandbox.wait_for(lambda: count(sandbox) == made)
    sandbox.client.v1.customers.create({"name": "Ada"}, {"idempotency_key": "slow"})
    assert count(sandbox) == 1


def test_a_key_in_flight_is_a_conflict(sandbox: SandboxProcess) -> None:
    rule = sandbox.fault(kind="slow", method="POST", path="/v1/customers", times=1, seconds=600)
    statuses: list[int] = []
    first = threading.Thread(target=lambda: statuses.append(create(sandbox)))
    first.start()
    sandbox.wait_for(lambda: count(sandbox) == 1)
    answer = sandbox.request("POST", "/v1/customers", {"name": "Ada"}, headers={"Idempotency-Key": "k"})
    assert (answer.status, answer.body["error"]["code"]) == (409, "idempotency_key_in_use")
    sandbox.request("DELETE", f"/_sandbox/faults/{rule['id']}")
    first.join()
    assert statuses == [200]
    assert create(sandbox) == 200
    assert count(sandbox) == 1


def test_slow_answers_do_not_hold_up_others(sandbox: SandboxProcess) -> None:
    sandbox.fault(kind="slow", method="GET", path="/v1/products", times=1, seconds=600)
    slow = threading.Thread(target=lambda: sandbox.request("GET", "/v1/products"))
    slow.start()
    sandbox.wait_for(lambda: sandbox.request("GET", "/_sandbox/faults").body["data"][0]["hits"] == 1)
    assert create(sandbox) == 200
    assert slow.is_alive()
    sandbox.request("DELETE", "/_sandbox/faults")
    slow.join()


def test_rules_match_by_pattern_count_hits_and_go_away(sandbox: SandboxProcess) -> None:
    rule = sandbox.fault(kind="409", path="/v1/customers/*")
    customer = sandbox.client.v1.customers.create()
    with pytest.raises(stripe.APIError) as refused:
        sandbox.client.v1.customers.retrieve(customer.id)
    assert refused.value.http_status == 409
    assert refused.value.error is not None
    assert refused.value.error.code == "lock_timeout"
    assert sandbox.request("GET", "/_sandbox/faults").body["data"][0]["hits"] == 1
    assert sandbox.request("DELETE", f"/_sandbox/faults/{rule['id']}").status == 200
    assert sandbox.client.v1.customers.retrieve(customer.id).id == customer.id
    assert sandbox.request("DELETE", f"/_sandbox/faults/{rule['id']}").status == 404


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "explode"},
        {},
        {"kind": "429", "times": 0},
        {"kind": "429", "times": "many"},
        {"kind": "429", "probability": 2},
        {"kind": "slow", "seconds": -1},
        {"kind": "429", "colour": "red"},
        [],
    ],
)
def test_rules_that_mean_nothing_are_refused(sandbox: SandboxProcess, rule: object) -> None:
    assert sandbox.request("POST", "/_sandbox/faults", json_body=rule).status == 400


def test_the_control_plane_says_what_it_does_not_have(sandbox: SandboxProcess) -> None:
    assert sandbox.request("GET", "/_sandbox/nonsense").status == 404
    health = sandbox.request("GET", "/_sandbox/health", key=None)
    assert health.body == {"status": "ok", "api_version": stripe.api_version}


def test_a_repeated_meter_event_is_refused_although_it_was_counted(sandbox: SandboxProcess) -> None:
    meter = sandbox.client.v1.billing.meters.create(
        {"display_name": "m", "event_name": "m", "default_aggregation": {"formula": "sum"}}
    )
    customer = sandbox.client.v1.customers.create()
    sandbox.fault(kind="400_duplicate", method="POST", path="/v1/billing/meter_events", times=1)
    event: Any = {
        "event_name": "m", "payload": {"stripe_customer_id": customer.id, "value": "7"}, "identifier": "once",
    }  # fmt: skip
    with pytest.raises(stripe.InvalidRequestError, match="identifier once") as refused:
        sandbox.client.v1.billing.meter_events.create(event)
    assert (refused.value.http_status, refused.value.code) == (400, "duplicate_meter_event")
    minute = int(time.time()) // 60 * 60
    held = sandbox.client.v1.billing.meters.event_summaries.list(
        meter.id, {"customer": customer.id, "start_time": minute - 60, "end_time": minute + 120}
    )
    assert [summary.aggregated_value for summary in held.data] == [7]
