"""How fast to send: slots in time, handed out to threads here and to processes by whoever reserves them.

`Reserve` takes a number of events and answers after how many seconds the first of them may start; the others follow
evenly. A slot that is not used soon after its time is lost and never saved up, so no second sees more than the limit,
and a process that dies takes a moment of the budget with it and nothing else.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from decimal import Decimal

Reserve = Callable[[int], float]

#: Slots lie this much further apart than the limit asks: a slot may be used `USABLE_FOR` late, and no second of the
#: clock may see more starts than the limit for it.
HEADROOM = 1.1
#: Seconds for which a slot may be used after its time.
USABLE_FOR = 0.09
#: At most so many seconds of slots, or so many slots, are reserved at once.
_SLICE_SECONDS = 0.05
_SLICE_SLOTS = 128


def compute_interval(per_second: Decimal) -> float:
    """Seconds between two slots under a limit of so many events a second."""
    return HEADROOM / float(per_second)


class LocalBudget:
    """A budget that this process has for itself."""

    def __init__(self, per_second: Decimal, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = compute_interval(per_second)
        self._clock = clock
        self._free_at = 0.0

    def __call__(self, events: int) -> float:
        now = self._clock()
        start = max(self._free_at, now)
        self._free_at = start + events * self._interval
        return start - now


class Pace:
    """Holds a process's threads to the budget. Threads `wait`; the thread that owns the database calls `refill`.

    `ring` is called, in a waiting thread, when slots are needed.
    """

    def __init__(
        self, per_second: Decimal, reserve: Reserve, ring: Callable[[], None] = lambda: None
    ) -> None:
        self._interval = compute_interval(per_second)
        self._most = max(1, min(_SLICE_SLOTS, int(_SLICE_SECONDS / self._interval)))
        self._reserve = reserve
        self._ring = ring
        self._slots: deque[float] = deque()
        self._wanted = 0
        self._last = 1
        self._is_closed = False
        self._changed = threading.Condition()

    def wait(self, events: int, *, deadline: float = math.inf) -> bool:
        """Return when the caller may start a request with so many events; False if not before `deadline`."""
        with self._changed:
            self._wanted += events
            try:
                while not self._has(events):
                    left = deadline - time.monotonic()
                    if left <= 0 or self._is_closed:
                        return False
                    self._ring()
                    self._changed.wait(min(left, 1.0))
            finally:
                self._wanted -= events
            start = self._slots[0]
            if start > deadline:
                return False
            for _ in range(events):
                self._slots.popleft()
        time.sleep(max(0.0, start - time.monotonic()))
        return True

    def refill(self) -> None:
        """Reserve what threads wait for, and more if they used all that they had. Never in a waiting thread."""
        with self._changed:
            missing = self._wanted - self._count_usable()
            if missing <= 0:
                return
            self._last = max(missing, min(self._last * 2, self._most))
            events = self._last
        start = time.monotonic() + self._reserve(events)
        with self._changed:
            self._slots.extend(start + number * self._interval for number in range(events))
            self._changed.notify_all()

    def close(self) -> None:
        """Send whoever waits away: nothing is refilled any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _has(self, events: int) -> bool:
        return self._count_usable() >= events

    def _count_usable(self) -> int:
        limit = time.monotonic() - USABLE_FOR
        while self._slots and self._slots[0] < limit:
            self._slots.popleft()
            self._last = 1
        return len(self._slots)
