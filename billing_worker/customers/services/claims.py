"""One worker at a time for each customer. A claim is renewed before every call to Stripe and can be lost, not stolen.

Whoever finds a customer claimed counts up `requests` and leaves: the worker that holds it sees that somebody came, and
looks once more before it lets go. So no change waits for the next hour because it came at the wrong moment.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db.models import F, Q

from billing_worker.customers.models import CustomerSync
from billing_worker.database_clock import get_database_now

#: Longer than a call to Stripe takes with all its retries. A worker that says nothing for so long is dead.
CLAIM_LIVES: Final = timedelta(minutes=15)


class LostClaim(Exception):
    """Another worker took this one for dead. Whatever we would write next is theirs to write."""


@dataclass(slots=True)
class Claim:
    """Our hold on one row. `requests`: how many had come when we last read the row."""

    row_id: int
    token: str
    requests: int


def take_claim(row_id: int) -> Claim | None:
    """Take the row, committed. None if another worker has it, which is told that somebody came."""
    at, token = get_database_now(), secrets.token_hex(16)
    rows = CustomerSync.objects.filter(pk=row_id)
    if not rows.filter(Q(claim_token="") | Q(claimed_at__lt=at - CLAIM_LIVES)).update(
        claim_token=token, claimed_at=at
    ):
        rows.update(requests=F("requests") + 1)
        return None
    return Claim(row_id, token, -1)


def read_claimed(claim: Claim) -> CustomerSync:
    """The row as it is now; from here on `release_claim` notices who comes.

    Raises:
        LostClaim: it is another worker's.
    """
    row = (
        CustomerSync.objects.select_related("account")
        .filter(pk=claim.row_id, claim_token=claim.token)
        .first()
    )
    if row is None:
        raise LostClaim
    claim.requests = row.requests
    return row


def keep_claim(claim: Claim, **changes: Any) -> None:
    """Write to the row and renew the claim, in one statement. Called before each call that changes anything at Stripe.

    Raises:
        LostClaim: it is another worker's, or so old that it may be by now.
    """
    at = get_database_now()
    held = CustomerSync.objects.filter(
        pk=claim.row_id, claim_token=claim.token, claimed_at__gte=at - CLAIM_LIVES
    )
    if not held.update(claimed_at=at, **changes):
        raise LostClaim


def release_claim(claim: Claim, *, is_final: bool = False, **changes: Any) -> bool:
    """Write to the row and let go. False: somebody came since the row was read, and we still hold it.

    With `is_final` the row is let go in any case.
    """
    held = CustomerSync.objects.filter(pk=claim.row_id, claim_token=claim.token)
    if not is_final:
        held = held.filter(requests=claim.requests)
    return bool(held.update(claim_token="", claimed_at=None, **changes))
