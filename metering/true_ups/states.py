"""The states of a true-up, and every way from one to another."""

from __future__ import annotations

from typing import Final

from django.db.models import TextChoices


class TrueUpState(TextChoices):
    """Where a true-up stands."""

    PROPOSED = "proposed", "Proposed"  # a person decides
    NO_CHARGE = "no_charge", "No charge"  # the units cost nothing in their tiers: noted, nothing to decide
    APPROVED = "approved", "Approved"  # to be made at Stripe
    CALLING = "calling", "Being made"  # claimed; the call may be under way
    SETTLED = "settled", "At Stripe"  # the invoice item or the credit note exists, once
    REFUSED = "refused", "Refused by Stripe"  # nothing was made; a person tries again or rejects
    REJECTED = "rejected", "Rejected"  # a person decided that these units are not billed


#: Every move there is, with who makes it.
TRANSITIONS: Final[dict[TrueUpState, frozenset[TrueUpState]]] = {
    TrueUpState.PROPOSED: frozenset(
        {TrueUpState.APPROVED, TrueUpState.REJECTED, TrueUpState.NO_CHARGE}
    ),  # a person; an earlier one's rejection changes the amount
    TrueUpState.NO_CHARGE: frozenset({TrueUpState.PROPOSED}),  # an earlier one's rejection
    TrueUpState.APPROVED: frozenset({TrueUpState.CALLING}),  # claim
    TrueUpState.CALLING: frozenset(
        {
            TrueUpState.SETTLED,
            TrueUpState.APPROVED,  # no usable answer: looked for at Stripe before it is asked again
            TrueUpState.REFUSED,
            TrueUpState.CALLING,  # a claim that went stale is taken over
        }
    ),
    TrueUpState.SETTLED: frozenset(),
    TrueUpState.REFUSED: frozenset({TrueUpState.APPROVED, TrueUpState.REJECTED}),  # a person
    TrueUpState.REJECTED: frozenset(),
}

#: A person has to do something.
WAITING_STATES: Final = (TrueUpState.PROPOSED, TrueUpState.REFUSED)
#: The worker has to do something.
OPEN_STATES: Final = (TrueUpState.APPROVED, TrueUpState.CALLING)
