"""Replay of answers by ``Idempotency-Key``."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING

from sandbox.engine.errors import StripeError

if TYPE_CHECKING:
    from sandbox.engine.store import Store

KEEP_SECONDS = 24 * 3600
MAX_KEY_LENGTH = 255
_KIND = "_replay"


class Replays:
    """Answers kept for at least 24 hours, by API key and idempotency key; they survive a restart."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._in_flight: set[str] = set()
        store.purge_texts(_KIND, f"[{int(time.time()) - KEEP_SECONDS}")

    def find(self, scope: str, key: str, fingerprint: str) -> tuple[int, str] | None:
        """Return the kept (status, body) for this key, or None where it is new or has expired.

        Raises:
            StripeError: 400 ``idempotency_error``, the key was used with another request; 409, it is still in flight.
        """
        if len(key) > MAX_KEY_LENGTH:
            raise StripeError(
                400,
                f"Idempotency keys must be at most {MAX_KEY_LENGTH} characters long.",
                type="idempotency_error",
            )
        name = f"{scope}:{key}"
        if name in self._in_flight:
            raise StripeError(
                409,
                "There is currently another in-progress request using this Idempotent Key (that probably means you "
                f"submitted twice, and the other request is still going through): {key}. Please try again later.",
                type="idempotency_error",
                code="idempotency_key_in_use",
            )
        text = self._store.get_text(_KIND, name)
        if text is None:
            return None
        head, body = text.split("\n", 1)
        kept_at, kept_fingerprint, status = json.loads(head)
        if time.time() - kept_at > KEEP_SECONDS:
            return None
        if kept_fingerprint != fingerprint:
            raise StripeError(
                400,
                "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                f"Try using a key other than '{key}' if you meant to execute a different request.",
                type="idempotency_error",
            )
        return status, body

    def keep(self, scope: str, key: str, fingerprint: str, status: int, body: str) -> None:
        """Keep the first answer to a key."""
        head = json.dumps([int(time.time()), fingerprint, status])
        self._store.put_text(_KIND, f"{scope}:{key}", f"{head}\n{body}")

    def hold(self, scope: str, key: str) -> None:
        """Mark a key as in flight: a second request with it is a 409 until :meth:`release`."""
        self._in_flight.add(f"{scope}:{key}")

    def release(self, scope: str, key: str) -> None:
        """Take the mark away."""
        self._in_flight.discard(f"{scope}:{key}")

    def clear(self) -> None:
        """Forget what is in flight; the store forgets the rest."""
        self._in_flight.clear()


def fingerprint(method: str, path: str, body: bytes) -> str:
    """Return what must be equal for two requests to count as the same."""
    digest = hashlib.blake2b(body, digest_size=12)
    digest.update(f" {method} {path}".encode())
    return digest.hexdigest()
