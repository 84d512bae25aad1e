"""The states of a hold on a draft invoice, and every way from one to another."""

from __future__ import annotations

from typing import Final

from django.db.models import TextChoices


class HoldState(TextChoices):
    """Where the hold on one draft stands."""

    NOT_NEEDED = "not_needed", "Not needed"  # usage was complete when the draft came; Stripe was not called
    PLANNED = "planned", "To be held"  # written by the webhook; Stripe is told next
    HOLDING = "holding", "Being held"  # claimed; the call may be under way
    HELD = "held", "Held"  # Stripe will not finalize it before we say so
    RELEASING = "releasing", "Being released"  # claimed; the call may be under way
    RELEASED = "released", "Released"  # by us, once
    MISSED = "missed", "Finalized before the hold"  # Stripe was faster
    OVERTAKEN = "overtaken", "Ended by others"  # finalized, voided or deleted by another hand while held


class ReleaseCause(TextChoices):
    """Why a draft was let go."""

    COMPLETE = "complete", "Usage complete and sent"
    DEADLINE = "deadline", "Deadline passed"
    PERSON = "person", "Released by a person"
    SWITCHED_OFF = "off", "Holding switched off"


#: Every move there is, with who makes it.
TRANSITIONS: Final[dict[HoldState, frozenset[HoldState]]] = {
    HoldState.PLANNED: frozenset({HoldState.HOLDING}),  # claim
    HoldState.HOLDING: frozenset(
        {
            HoldState.HELD,  # Stripe said so, or was found to have said so
            HoldState.PLANNED,  # no usable answer: looked at again after a pause
            HoldState.NOT_NEEDED,  # became complete before Stripe was told; or somebody else holds it
            HoldState.MISSED,  # already finalized
            HoldState.HOLDING,  # a claim that went stale is taken over
        }
    ),
    HoldState.HELD: frozenset({HoldState.RELEASING}),  # claim
    HoldState.RELEASING: frozenset(
        {HoldState.RELEASED, HoldState.HELD, HoldState.OVERTAKEN, HoldState.RELEASING}
    ),
    HoldState.NOT_NEEDED: frozenset(),
    HoldState.RELEASED: frozenset(),
    HoldState.MISSED: frozenset(),
    HoldState.OVERTAKEN: frozenset(),
}

#: States in which something is still to be done.
OPEN_STATES: Final = (HoldState.PLANNED, HoldState.HOLDING, HoldState.HELD, HoldState.RELEASING)
