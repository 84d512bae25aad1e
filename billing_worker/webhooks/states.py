"""The life of an inbox event.

received -> processing -> processed
    ^           |-------> failed       (after the last attempt; a person replays it)
    |-----------|                      (an error: again after a pause; a killed worker: again after the claim is stale)
ignored                                (a type that nothing here takes)
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db.models import TextChoices


class InboxState(TextChoices):
    RECEIVED = "received", "Received"
    PROCESSING = "processing", "Processing"
    PROCESSED = "processed", "Processed"
    IGNORED = "ignored", "Ignored"
    FAILED = "failed", "Failed"


TRANSITIONS: Final = {
    InboxState.RECEIVED: {InboxState.PROCESSING},
    InboxState.PROCESSING: {
        InboxState.PROCESSED,
        InboxState.RECEIVED,
        InboxState.FAILED,
        InboxState.PROCESSING,
    },
    InboxState.PROCESSED: {InboxState.RECEIVED},
    InboxState.IGNORED: {InboxState.RECEIVED},
    InboxState.FAILED: {InboxState.RECEIVED},
}

#: Tries before an event is `failed` and a person is told: with the pauses below about nine hours.
MAX_ATTEMPTS: Final = 10
#: Pause after the n-th failed attempt; the last one repeats.
PAUSES: Final = tuple(timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 1800, 3600, 7200))
#: A claim older than this belongs to a worker that died. Far above the longest honest processing.
CLAIM_TIMEOUT: Final = timedelta(minutes=5)
#: An event that waited this long for a worker is told of: nobody is working.
BACKLOG_LIMIT: Final = timedelta(minutes=15)


def get_pause(attempts: int) -> timedelta:
    """How long to wait after the given number of attempts (1 or more)."""
    return PAUSES[min(attempts, len(PAUSES)) - 1]
