"""What each kind of answer becomes, and what is repeated."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
import stripe
from djstripe.settings import djstripe_settings

from billing_worker import gateway
from billing_worker.gateway.catalog import write_decimals
from billing_worker.gateway.transport import call, get_client, iterate, make_path
from tests.support.processes import find_free_port

NOW = datetime(2026, 10, 3, 12, tzinfo=UTC)


def refuse(status: int, **error: object) -> tuple[int, dict[str, object]]:
    return status, {"error": {"type": "invalid_request_error", "message": "No.", **error}}


def test_pinned_version_is_the_sdks_own() -> None:
    assert stripe.api_version == gateway.STRIPE_API_VERSION


def test_dj_stripe_uses_the_pinned_version_whatever_the_sdk_has(monkeypatch) -> None:
    monkeypatch.setattr(stripe, "api_version", "2031-01-01.other")
    assert djstripe_settings.STRIPE_API_VERSION == gateway.STRIPE_API_VERSION


def test_requests_carry_the_pinned_version_and_the_key(canned) -> None:
    canned.answers = [(200, {"id": "cus_1", "object": "customer"})]
    gateway.get_customer("cus_1")
    [(method, path, headers, _)] = canned.requests
    assert (method, path) == ("GET", "/v1/customers/cus_1")
    assert headers["Stripe-Version"] == "2026-08-26.dahlia"
    assert headers["Authorization"] == "Bearer sk_test_tests"


def test_without_a_key_nothing_is_called(canned, settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"STRIPE_SECRET_KEY": None})
    assert not gateway.is_configured()
    with pytest.raises(gateway.GatewayNotConfigured, match="STRIPE_SECRET_KEY"):
        gateway.get_customer("cus_1")
    assert canned.requests == []


@pytest.mark.parametrize(
    ("answer", "error", "stripe_code"),
    [
        (refuse(400, code="parameter_unknown", param="foo"), gateway.GatewayRejected, "parameter_unknown"),
        (refuse(404, code="resource_missing", param="id"), gateway.GatewayNotFound, "resource_missing"),
        (refuse(400, code="resource_missing", param="customer"), gateway.GatewayNotFound, "resource_missing"),
        (refuse(402, type="card_error", code="card_declined"), gateway.PaymentDeclined, "card_declined"),
        (refuse(401), gateway.GatewayRejected, None),
        (refuse(403), gateway.GatewayRejected, None),
        (refuse(400, type="idempotency_error"), gateway.GatewayRejected, None),
        (refuse(400, code="duplicate_meter_event"), gateway.DuplicateMeterEvent, "duplicate_meter_event"),
        (
            refuse(400, message="An event already exists with identifier abc."),
            gateway.DuplicateMeterEvent,
            None,
        ),
    ],
)
def test_refusals_keep_stripes_code(canned, answer, error, stripe_code) -> None:
    canned.answers = [answer]
    with pytest.raises(gateway.GatewayRejected) as caught:
        call("post", make_path("customers"), {"name": "Example"}, idempotency_key="k")
    assert type(caught.value) is error
    assert caught.value.stripe_code == stripe_code
    assert caught.value.status == answer[0]
    assert len(canned.requests) == 1


def test_an_unknown_parameter_that_is_called_identifier_is_no_duplicate(canned) -> None:
    canned.answers = [
        refuse(400, message="The identifier is too long.", code="parameter_invalid", param="identifier")
    ]
    with pytest.raises(gateway.GatewayRejected) as caught:
        call("post", make_path("billing", "meter_events"), {})
    assert type(caught.value) is gateway.GatewayRejected


@pytest.mark.parametrize("answer", [refuse(429, code="rate_limit"), refuse(409, code="lock_timeout")])
def test_not_executed_means_rate_limited(canned, answer) -> None:
    canned.answers = [answer]
    with pytest.raises(gateway.GatewayRateLimited):
        call("post", make_path("customers"), {})


@pytest.mark.parametrize("answer", [refuse(500), (502, b"<html>bad gateway</html>"), (0, b"")])
def test_a_failure_after_sending_leaves_the_outcome_open(canned, answer) -> None:
    canned.answers = [answer]
    with pytest.raises(gateway.GatewayUnavailable) as caught:
        call("post", make_path("customers"), {})
    assert caught.value.outcome_unknown
    assert len(canned.requests) == 1, "without an idempotency key nothing is sent twice"


def test_a_broken_connection_is_repeated_under_the_same_idempotency_key(canned) -> None:
    canned.answers = [(0, b""), refuse(500), (200, {"id": "cus_1", "object": "customer"})]
    assert call("post", make_path("customers"), {}, idempotency_key="once")["id"] == "cus_1"
    assert [headers["Idempotency-Key"] for _, _, headers, _ in canned.requests] == ["once"] * 3


def test_silence_is_given_up_after_the_timeout(settings) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        base = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings.ENV = settings.ENV.model_copy(update={"STRIPE_API_BASE": base, "STRIPE_TIMEOUT_SECONDS": 1})
        with pytest.raises(gateway.GatewayUnavailable, match="no answer in time") as caught:
            gateway.send_meter_event(
                event_name="impressions_st", customer="cus_1", value=1, identifier="x", at=NOW
            )
    assert caught.value.outcome_unknown


def test_a_refused_connection_was_certainly_not_executed(settings) -> None:
    base = f"http://127.0.0.1:{find_free_port()}"
    settings.ENV = settings.ENV.model_copy(update={"STRIPE_API_BASE": base})
    with pytest.raises(gateway.GatewayUnavailable, match="nothing answers at") as caught:
        call("post", make_path("customers"), {})
    assert not caught.value.outcome_unknown


def test_the_key_is_in_no_error(canned) -> None:
    canned.answers = [refuse(401, message="Invalid API Key provided: sk_test_****ests")]
    with pytest.raises(gateway.GatewayRejected) as caught:
        gateway.get_customer("cus_1")
    assert "sk_test_tests" not in str(caught.value)


def test_fractions_never_become_floats(canned) -> None:
    summary = b'{"id":"mtrsum_1","aggregated_value":9007199254740993.0,"start_time":1,"end_time":2}'
    canned.answers = [(200, b'{"object":"list","has_more":false,"data":[' + summary + b"]}")]
    [read] = gateway.list_meter_event_summaries(meter="mtr_1", customer="cus_1", start_at=NOW, end_at=NOW)
    assert read.value == 9007199254740993  # 2**53 + 1: a float would say ...992
    assert isinstance(read.value, int)


def test_a_summary_with_a_fraction_is_refused(canned) -> None:
    page = {"id": "mtrsum_1", "aggregated_value": 1.5, "start_time": 1, "end_time": 2}
    canned.answers = [(200, {"object": "list", "has_more": False, "data": [page]})]
    with pytest.raises(ValueError, match="not a count"):
        gateway.list_meter_event_summaries(meter="mtr_1", customer="cus_1", start_at=NOW, end_at=NOW)


def test_lists_are_fetched_in_pages_of_a_hundred(canned) -> None:
    canned.answers = [
        (200, {"object": "list", "has_more": True, "data": [{"id": "a"}, {"id": "b"}]}),
        (200, {"object": "list", "has_more": False, "data": [{"id": "c"}]}),
    ]
    assert [entry["id"] for entry in iterate(make_path("invoices"), {"customer": "cus_1"})] == ["a", "b", "c"]
    assert [path for _, path, _, _ in canned.requests] == [
        "/v1/invoices?customer=cus_1&limit=100",
        "/v1/invoices?customer=cus_1&limit=100&starting_after=b",
    ]


def test_a_list_is_read_no_further_than_needed(canned) -> None:
    canned.answers = [(200, {"object": "list", "has_more": True, "data": [{"id": "a"}, {"id": "b"}]})]
    assert next(iterate(make_path("invoices")))["id"] == "a"
    assert len(canned.requests) == 1


def test_ids_cannot_leave_their_place_in_the_path() -> None:
    assert make_path("invoices", "../customers?x=1") == "/v1/invoices/..%2Fcustomers%3Fx%3D1"


def test_clients_are_shared_until_the_settings_change(settings) -> None:
    first = get_client()
    assert get_client() is first
    settings.ENV = settings.ENV.model_copy(update={"STRIPE_TIMEOUT_SECONDS": 7})
    assert get_client() is not first


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("100"), "100"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0.000000000001"), "0.000000000001"),
        (Decimal("0.0500"), "0.05"),
        (Decimal("0"), "0"),
    ],
)
def test_decimals_are_written_as_plain_digits(value, text) -> None:
    assert write_decimals({"a": [value]}) == {"a": [text]}


@pytest.mark.parametrize("text", ["NaN", "Infinity", "{", "[" * 100_000])
def test_what_is_not_json_is_a_value_error(text) -> None:
    with pytest.raises(ValueError, match=r".+"):
        gateway.loads(text)
