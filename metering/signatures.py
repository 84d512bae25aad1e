"""How two sides sign what they tell each other: `X-Timestamp`, and `X-Signature` over the time and a message."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

from billing_worker.core.errors import BillingError

TOLERANCE_SECONDS: Final = 300
_STAMP: Final = re.compile(r"[0-9]{1,12}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class SignatureRefused(BillingError):
    """The request is not signed as it must be. Sign exactly what is sent with a live secret when sending."""

    code = "signature_refused"
    http_status = 401


def sign_message(*, message: bytes, secret: str, at: datetime) -> dict[str, str]:
    """The two headers for a message, exactly as it is sent."""
    stamp = str(int(at.timestamp()))
    return {"X-Timestamp": stamp, "X-Signature": _compute_digest(stamp, message, secret)}


def verify_message(
    *, message: bytes, what: str, stamp: str, signature: str, secrets: Sequence[str], now: datetime
) -> None:
    """Accept if any of the secrets made the signature, at most 300 s from `now` in either direction.

    `what` names the message to the caller.

    Raises:
        SignatureRefused: a header is missing or malformed, nothing matches, or the time is off.
    """
    if not (_STAMP.fullmatch(stamp) and _DIGEST.fullmatch(signature)):
        raise SignatureRefused(
            "X-Timestamp (Unix seconds) and X-Signature (64 lower-case hex digits) are needed"
        )
    if not any(hmac.compare_digest(_compute_digest(stamp, message, secret), signature) for secret in secrets):
        raise SignatureRefused(
            f"X-Signature does not match: sign `{{X-Timestamp}}.{{{what}}}` with a shared secret"
        )
    if abs(now.timestamp() - int(stamp)) > TOLERANCE_SECONDS:
        raise SignatureRefused(f"X-Timestamp is more than {TOLERANCE_SECONDS} s from our time")


def _compute_digest(stamp: str, message: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), stamp.encode() + b"." + message, sha256).hexdigest()
