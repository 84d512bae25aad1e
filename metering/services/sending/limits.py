"""How fast to send and when to stop: one rate limit and one circuit breaker, shared by a process's threads."""

from __future__ import annotations

import random
import threading
import time
from datetime import timedelta
from decimal import Decimal

BACKOFF_BASE = timedelta(seconds=1)
BACKOFF_LIMIT = timedelta(minutes=10)


class RateLimiter:
    """At most `per_second` starts a second, evenly spaced, whatever the number of threads."""

    def __init__(self, per_second: Decimal) -> None:
        self._interval = 1 / float(per_second)
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, events: int = 1) -> None:
        """Return when the caller may start a request with so many events."""
        with self._lock:
            now = time.monotonic()
            start = max(self._next, now)
            # A pause earns no burst beyond a tenth of a second.
            self._next = max(start + self._interval * events, now - 0.1)
        if start > now:
            time.sleep(start - now)


class CircuitBreaker:
    """Opens after `limit` failures in a row, or at once for a cause that every call would meet."""

    def __init__(self, limit: int = 10) -> None:
        self._limit = limit
        self._failures = 0
        self._lock = threading.Lock()
        self.cause = ""

    @property
    def is_open(self) -> bool:
        return bool(self.cause)

    def succeed(self) -> None:
        self._failures = 0

    def fail(self, cause: str, *, at_once: bool = False) -> None:
        with self._lock:
            self._failures += 1
            if at_once or self._failures >= self._limit:
                self.cause = self.cause or cause


def compute_backoff(attempts: int, rng: random.Random | None = None) -> timedelta:
    """Full jitter over a doubling delay: between half a step and a step, a step being 1, 2, 4 ... 600 seconds."""
    step: timedelta = min(BACKOFF_BASE * 2 ** min(attempts, 12), BACKOFF_LIMIT)
    share: float = (rng or random).random()
    return step * (0.5 + share / 2)
