"""What can become of one day of one source."""

from __future__ import annotations

from typing import Final

from django.db.models import TextChoices


class PullState(TextChoices):
    """Where the pull of a day stands. Only `done` is left alone until the source says something new."""

    WAITING = "waiting", "Waiting"  # known, not read yet
    PULLING = "pulling", "Pulling"  # claimed; somebody may be reading it
    DONE = "done", "Done"  # every row of the day is held here
    PARTIAL = "partial", "Partial"  # some rows were refused; every run tries them again
    FAILED = "failed", "Failed"  # broken off, or not to be believed; every run tries again


#: Every move there is, with who makes it.
TRANSITIONS: Final[dict[PullState, frozenset[PullState]]] = {
    PullState.WAITING: frozenset({PullState.PULLING}),  # claim
    PullState.PULLING: frozenset(
        {PullState.DONE, PullState.PARTIAL, PullState.FAILED, PullState.WAITING, PullState.PULLING}
    ),  # settle; the source took the day back; a claim that went stale is taken over
    PullState.DONE: frozenset({PullState.PULLING}),  # the day was restated
    PullState.PARTIAL: frozenset({PullState.PULLING}),
    PullState.FAILED: frozenset({PullState.PULLING}),
}
