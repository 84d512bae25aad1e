"""The states of a meter event, and every way from one to another."""

from __future__ import annotations

from typing import Final

from django.db.models import TextChoices


class Granularity(TextChoices):
    """How an account's month is fed: each day's total, or the month's."""

    DAY = "day", "Daily totals"
    MONTH = "month", "Monthly total"


class EventState(TextChoices):
    """Where a meter event stands."""

    SHADOW = "shadow", "Shadow"  # computed; Stripe doesn't bill this account and period (yet)
    PENDING = "pending", "Pending"  # to be sent
    SENDING = "sending", "Sending"  # claimed by a sender; the call may be under way
    UNRESOLVED = "unresolved", "Unresolved"  # a call's outcome is unknown: look before sending again
    SENT = "sent", "Sent"  # counted by Stripe, once
    REJECTED = "rejected", "Rejected"  # Stripe refused it; a person decides
    EXPIRED = "expired", "Expired"  # older than Stripe takes; becomes a true-up
    SKIPPED = "skipped", "Skipped"  # never to be billed; `reason` says why


#: Every move there is, with who makes it.
TRANSITIONS: Final[dict[EventState, frozenset[EventState]]] = {
    EventState.SHADOW: frozenset({EventState.PENDING, EventState.SKIPPED}),  # arming; a person
    EventState.PENDING: frozenset(
        {
            EventState.SENDING,  # claim
            EventState.SHADOW,  # disarming (not what Stripe may have counted)
            EventState.EXPIRED,  # age
            EventState.SKIPPED,  # a person, or the true-up that bills it instead
            EventState.UNRESOLVED,  # too late to repeat a call of unknown outcome
            EventState.REJECTED,  # Stripe's later report on a call of unknown outcome
        }
    ),
    EventState.SENDING: frozenset(
        {
            EventState.SENT,
            EventState.PENDING,  # not attempted, or refused for now: nothing happened at Stripe
            EventState.UNRESOLVED,
            EventState.REJECTED,
            EventState.EXPIRED,
        }
    ),
    EventState.UNRESOLVED: frozenset(
        {EventState.SENT, EventState.PENDING, EventState.REJECTED, EventState.SKIPPED}
    ),  # the summaries say so; or a person
    EventState.SENT: frozenset(
        {
            EventState.REJECTED,  # Stripe's asynchronous refusal
            EventState.PENDING,  # a person, who saw that Stripe does not count it
        }
    ),
    EventState.REJECTED: frozenset({EventState.PENDING, EventState.SKIPPED, EventState.SENT}),  # a person
    EventState.EXPIRED: frozenset({EventState.SKIPPED}),  # a person, or the true-up that replaced it
    EventState.SKIPPED: frozenset(),
}

#: States in which an event may still reach Stripe without a person's doing.
OPEN_STATES: Final = (EventState.PENDING, EventState.SENDING, EventState.UNRESOLVED)
