"""When to stop and how long to wait: a circuit breaker shared by a process's threads, and back-offs."""

from __future__ import annotations

import random
import threading
from datetime import timedelta

BACKOFF_BASE = timedelta(seconds=1)
BACKOFF_LIMIT = timedelta(minutes=10)


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
