"""How the two sides sign what they ask each other: `X-Timestamp`, and `X-Signature` over time, path and query."""

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
    """The request is not signed as it must be. Sign the exact path and query with a live secret when sending."""

    code = "signature_refused"
    http_status = 401


def sign_target(*, target: str, secret: str, at: datetime) -> dict[str, str]:
    """The two headers for a GET of `target`: its path, with `?` and the query exactly as sent if there is one."""
    stamp = str(int(at.timestamp()))
    return {"X-Timestamp": stamp, "X-Signature": _compute_digest(stamp, target, secret)}


def verify_target(*, target: str, stamp: str, signature: str, secrets: Sequence[str], now: datetime) -> None:
    """Accept if any of the secrets made the signature, at most 300 s from `now` in either direction.

    Raises:
        SignatureRefused: a header is missing or malformed, nothing matches, or the time is off.
    """
    if not (_STAMP.fullmatch(stamp) and _DIGEST.fullmatch(signature)):
        raise SignatureRefused(
            "X-Timestamp (Unix seconds) and X-Signature (64 lower-case hex digits) are needed"
        )
    if not any(hmac.compare_digest(_compute_digest(stamp, target, secret), signature) for secret in secrets):
        raise SignatureRefused(
            "X-Signature does not match: sign `{X-Timestamp}.{path?query}` with a shared secret"
        )
    if abs(now.timestamp() - int(stamp)) > TOLERANCE_SECONDS:
        raise SignatureRefused(f"X-Timestamp is more than {TOLERANCE_SECONDS} s from our time")


def _compute_digest(stamp: str, target: str, secret: str) -> str:
    return hmac.new(secret.encode(), f"{stamp}.{target}".encode(), sha256).hexdigest()
