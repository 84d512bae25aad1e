"""How the two sides sign what they ask each other: `metering.signatures` over path and query."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from metering.signatures import sign_message, verify_message


def sign_target(*, target: str, secret: str, at: datetime) -> dict[str, str]:
    """The two headers for a GET of `target`: its path, with `?` and the query exactly as sent if there is one."""
    return sign_message(message=target.encode(), secret=secret, at=at)


def verify_target(*, target: str, stamp: str, signature: str, secrets: Sequence[str], now: datetime) -> None:
    """Accept if any of the secrets made the signature, at most 300 s from `now` in either direction.

    Raises:
        SignatureRefused: a header is missing or malformed, nothing matches, or the time is off.
    """
    verify_message(
        message=target.encode(), what="path?query", stamp=stamp, signature=signature, secrets=secrets, now=now
    )
