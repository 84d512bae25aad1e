"""Stripe's signature scheme, and that the SDK agrees with us about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from billing_worker import gateway
from billing_worker.core.errors import InvalidInput

NOW = datetime(2026, 11, 1, 2, tzinfo=UTC)
#: printf '1793498400.{}' | openssl dgst -sha256 -hmac whsec_one
KNOWN = "ae287d6ebe34ec5e8ebca90f258c1f36ae4053d07a464530ccf575b55057d111"
BODY = '{"id":"evt_1","name":"Ümlaut GmbH"}'.encode()


def verify(
    body: bytes = BODY, *, signature: str, secrets: tuple[str, ...] = ("whsec_one",), now: datetime = NOW
):
    return gateway.verify_webhook(
        body=body, signature=signature, secrets=secrets, tolerance_seconds=300, now=now
    )


def test_a_signed_body_is_parsed() -> None:
    signature = gateway.sign_payload(body=BODY, secret="whsec_one", at=NOW)
    assert verify(signature=signature) == {"id": "evt_1", "name": "Ümlaut GmbH"}


def test_the_value_is_stripes_own() -> None:
    signature = gateway.sign_payload(body=b"{}", secret="whsec_one", at=datetime(2026, 11, 1, 2, tzinfo=UTC))
    assert signature == f"t=1793498400,v1={KNOWN}"


def test_the_sdk_accepts_our_signature_and_we_accept_the_sdks() -> None:
    now = datetime.now(UTC)
    ours = gateway.sign_payload(body=BODY, secret="whsec_one", at=now)
    assert stripe.WebhookSignature.verify_header(BODY, ours, "whsec_one", 300)
    theirs = stripe.WebhookSignature.generate_signature_header(BODY.decode(), "whsec_one")
    assert verify(signature=theirs, now=now)["id"] == "evt_1"


def test_any_live_secret_and_any_v1_value_may_match() -> None:
    old = gateway.sign_payload(body=BODY, secret="whsec_old", at=NOW)
    new = gateway.sign_payload(body=BODY, secret="whsec_new", at=NOW)
    both = f"{old},{new.partition(',')[2]},v0=ignored"
    assert verify(signature=both, secrets=("whsec_new",))["id"] == "evt_1"
    assert verify(signature=both, secrets=("whsec_old",))["id"] == "evt_1"
    assert verify(signature=old, secrets=("whsec_new", "whsec_old"))["id"] == "evt_1"


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        ("", "missing"),
        ("nonsense", "malformed"),
        ("t=abc,v1=00", "malformed"),
        ("t=٣,v1=00", "malformed"),
        (f"t={'9' * 5000},v1=00", "malformed"),
        ("t=1,t=2,v1=00", "malformed"),
        ("t=1793498400", "malformed"),
        ("t=1793498400,v0=00", "malformed"),
        ("t=1793498400,v1=ü", "malformed"),
        ("t=1793498400,v1=00", "mismatch"),
        ("t=1793498400,v1=", "mismatch"),
    ],
)
def test_bad_headers_are_refused_with_a_reason(signature, reason) -> None:
    with pytest.raises(gateway.SignatureRejected) as caught:
        verify(signature=signature)
    assert caught.value.reason == reason
    assert caught.value.http_status == 400


@pytest.mark.parametrize("seconds", [-301, 301, -86_400, 86_400])
def test_too_old_and_too_new_are_stale(seconds) -> None:
    signature = gateway.sign_payload(body=BODY, secret="whsec_one", at=NOW + timedelta(seconds=seconds))
    with pytest.raises(gateway.SignatureRejected) as caught:
        verify(signature=signature)
    assert caught.value.reason == "stale"


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_the_tolerance_includes_its_bounds(seconds) -> None:
    signature = gateway.sign_payload(body=BODY, secret="whsec_one", at=NOW + timedelta(seconds=seconds))
    assert verify(signature=signature)["id"] == "evt_1"


def test_no_secret_accepts_nothing() -> None:
    signature = gateway.sign_payload(body=BODY, secret="whsec_one", at=NOW)
    with pytest.raises(gateway.SignatureRejected):
        verify(signature=signature, secrets=())


@given(
    st.binary(max_size=200), st.integers(min_value=0, max_value=199), st.integers(min_value=1, max_value=255)
)
def test_any_changed_byte_breaks_it(body, position, change) -> None:
    signature = gateway.sign_payload(body=body, secret="whsec_one", at=NOW)
    if not body:
        return
    index = position % len(body)
    forged = body[:index] + bytes([body[index] ^ change]) + body[index + 1 :]
    with pytest.raises(gateway.SignatureRejected):
        verify(forged, signature=signature)


@pytest.mark.parametrize("body", [b"\xff\xfe", b"not json", b"[1]", b'"text"', b"NaN", b"null", b""])
def test_signed_nonsense_is_invalid_input(body) -> None:
    signature = gateway.sign_payload(body=body, secret="whsec_one", at=NOW)
    with pytest.raises(InvalidInput):
        verify(body, signature=signature)
