"""Stripe's webhook signature over the raw body.

Written out rather than taken from the SDK, which knows one secret, looks only into the past and decodes the body first.
https://docs.stripe.com/webhooks#verify-manually
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from typing import Any

from billing_worker.core.errors import InvalidInput
from billing_worker.gateway.errors import SignatureRejected
from billing_worker.gateway.transport import loads

_SCHEME = "v1"


def verify_signature(
    *, body: bytes, signature: str, secrets: Iterable[str], tolerance_seconds: int, now: datetime
) -> None:
    """Accept if any `v1` value matches any live secret and the time lies within the tolerance, past or future.

    Raises:
        SignatureRejected: with a `reason` of `missing`, `malformed`, `mismatch` or `stale`.
    """
    if not signature:
        raise SignatureRejected("the request has no Stripe-Signature header", reason="missing")
    stamp, candidates = _parse_header(signature)
    signed = stamp.encode("ascii") + b"." + body
    matches = [
        hmac.compare_digest(hmac.new(secret.encode(), signed, sha256).hexdigest(), candidate)
        for secret in secrets
        for candidate in candidates
    ]
    if not any(matches):
        raise SignatureRejected(
            "the signature matches none of the live webhook secrets (STRIPE_WEBHOOK_SECRET)",
            reason="mismatch",
        )
    # Checked after the signature: only Stripe itself learns how far our clocks are apart.
    if abs(now.timestamp() - int(stamp)) > tolerance_seconds:
        raise SignatureRejected(
            f"the signature's time differs by more than {tolerance_seconds} s from ours", reason="stale"
        )


def verify_webhook(
    *, body: bytes, signature: str, secrets: Iterable[str], tolerance_seconds: int, now: datetime
) -> dict[str, Any]:
    """The event in a webhook's raw body, once its signature is verified.

    Raises:
        SignatureRejected: the signature does not hold.
        InvalidInput: signed, but not a JSON object.
    """
    verify_signature(
        body=body, signature=signature, secrets=secrets, tolerance_seconds=tolerance_seconds, now=now
    )
    try:
        payload = loads(body)
    except ValueError as error:
        raise InvalidInput("the webhook's body is not JSON") from error
    if not isinstance(payload, dict):
        raise InvalidInput("the webhook's body is not a JSON object")
    return payload


def sign_payload(*, body: bytes, secret: str, at: datetime) -> str:
    """The `Stripe-Signature` header that Stripe would send: for tests and for replays against ourselves."""
    stamp = str(int(at.timestamp()))
    digest = hmac.new(secret.encode(), stamp.encode("ascii") + b"." + body, sha256).hexdigest()
    return f"t={stamp},{_SCHEME}={digest}"


def _parse_header(header: str) -> tuple[str, list[str]]:
    pairs = [part.strip().partition("=") for part in header.split(",")]
    stamps = [value for name, _, value in pairs if name == "t"]
    candidates = [value for name, _, value in pairs if name == _SCHEME and value.isascii()]
    # Twelve digits: enough until the year 33658, and no parsing of a number that someone made endless.
    if len(stamps) != 1 or not (stamps[0].isascii() and stamps[0].isdigit() and len(stamps[0]) <= 12):
        raise SignatureRejected("the Stripe-Signature header has no usable time", reason="malformed")
    if not candidates:
        raise SignatureRejected("the Stripe-Signature header has no v1 signature", reason="malformed")
    return stamps[0], candidates
