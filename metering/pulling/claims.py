"""One puller at a time has a day. A puller that died holds it until the claim goes stale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from django.db.models import Q

from billing_worker.core.errors import Conflict
from metering.pulling.models import UsagePull
from metering.pulling.states import PullState

#: Far longer than one batch takes; the claim is renewed with each.
CLAIM_EXPIRES_AFTER: Final = timedelta(minutes=15)


class PullTakenOver(Conflict):
    """This pull was silent so long that another one has taken its day over. Nothing is lost: let that one finish."""

    code = "pull_taken_over"


@dataclass(frozen=True, slots=True)
class DayClaim:
    """The right to write one day of one source."""

    source: str
    day: date
    token: str


def claim_day(*, source: str, day: date, now: datetime) -> DayClaim | None:
    """Take a day. None: another puller is at it."""
    UsagePull.objects.bulk_create([UsagePull(source=source, day=day)], ignore_conflicts=True)
    claim = DayClaim(source, day, uuid4().hex)
    is_free = ~Q(state=PullState.PULLING) | Q(claimed_at__lte=now - CLAIM_EXPIRES_AFTER)
    taken = UsagePull.objects.filter(is_free, source=source, day=day).update(
        state=PullState.PULLING, claim_token=claim.token, claimed_at=now
    )
    return claim if taken else None


def renew_claim(claim: DayClaim, *, now: datetime) -> None:
    """Say that the puller is alive.

    Raises:
        PullTakenOver: too late; another one has the day.
    """
    _update(claim, {"claimed_at": now})


def settle_claim(claim: DayClaim, *, state: PullState, changes: Mapping[str, Any]) -> None:
    """Give the day back with what came of it.

    Raises:
        PullTakenOver: too late; another one has the day.
    """
    _update(claim, {**changes, "state": state, "claim_token": "", "claimed_at": None})


def _update(claim: DayClaim, changes: Mapping[str, Any]) -> None:
    held = UsagePull.objects.filter(
        source=claim.source, day=claim.day, state=PullState.PULLING, claim_token=claim.token
    )
    if not held.update(**changes):
        raise PullTakenOver(f"another pull has taken {claim.source} {claim.day} over: let it finish")
