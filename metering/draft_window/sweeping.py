"""Find the holds that have something to do: whatever a lost kick or a killed worker left behind."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q

from billing_worker.accounts.models import Account
from billing_worker.accounts.selectors import get_now_for
from billing_worker.core.periods import Period
from metering.draft_window.completeness import list_reasons
from metering.draft_window.models import DraftHold
from metering.draft_window.services import HoldPolicy, keep_reasons
from metering.draft_window.states import HoldState
from metering.draft_window.working import (
    CLAIM_EXPIRES_AFTER,
    choose_cause,
    is_overdue,
    may_be_over,
    work_hold,
)

#: Held drafts whose reasons are gathered together.
CHUNK: Final = 500
#: Sweeps that are further apart than this don't share their work: a clock that was ahead must not hide a draft.
SHARED_FOR: Final = timedelta(minutes=5)


def sweep_holds(*, policy: HoldPolicy, clock: Callable[[], datetime]) -> dict[str, int]:
    """Do what is next for every hold and say how many ended up in which state. Call it outside a transaction.

    The reasons of many held drafts of a month are gathered together; only those that can go on cost a call.
    """
    now = clock()
    planned = DraftHold.objects.filter(
        Q(state=HoldState.PLANNED) & (Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=now))
        | Q(state__in=[HoldState.HOLDING, HoldState.RELEASING], claimed_at__lte=now - CLAIM_EXPIRES_AFTER)
    )
    due = list(planned.order_by("drafted_at").values_list("pk", flat=True))
    due += _find_releasable(policy, now)
    return dict(Counter(work_hold(hold_id=pk, policy=policy, now=clock()) for pk in due))


def _find_releasable(policy: HoldPolicy, now: datetime) -> list[int]:
    """Held drafts that can be let go, or that are overdue and have to be told about. Keeps their reasons fresh."""
    held = DraftHold.objects.filter(state=HoldState.HELD).filter(
        Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=now)
    )
    found = []
    ids = list(held.order_by("drafted_at").values_list("pk", flat=True))
    for start in range(0, len(ids), CHUNK):
        # Not what a sweep that began later has looked at meanwhile: when one takes long, the next ones share its work.
        newer = Q(looked_at__gt=now, looked_at__lte=now + SHARED_FOR)
        by_period: defaultdict[str, list[DraftHold]] = defaultdict(list)
        for hold in held.filter(pk__in=ids[start : start + CHUNK]).exclude(newer).order_by("drafted_at"):
            by_period[hold.period].append(hold)
        for period, holds in by_period.items():
            found += _look_at(holds, Period.parse(period), policy, now)
    return found


def _look_at(holds: list[DraftHold], period: Period, policy: HoldPolicy, now: datetime) -> list[int]:
    """Which of the month's held drafts have something to do. Keeps their reasons fresh."""
    found, changed = [], []
    reasons = list_reasons(period, payer_ids=[hold.account_id for hold in holds])
    accounts = Account.objects.select_related("test_clock", "parent__test_clock")
    payers = accounts.in_bulk([hold.account_id for hold in holds])
    for hold in holds:
        kept = keep_reasons(reasons[hold.account_id])
        if kept != hold.reasons:
            hold.reasons = kept
            changed.append(hold)
        local_now = get_now_for(payers[hold.account_id], now)
        cause = choose_cause(hold, hold.reasons, policy=policy, local_now=local_now)
        if cause or may_be_over(hold) or is_overdue(hold, policy, local_now=local_now):
            found.append(hold.pk)
    DraftHold.objects.bulk_update(changed, ["reasons"], batch_size=100)
    DraftHold.objects.filter(pk__in=[hold.pk for hold in holds]).update(looked_at=now)
    return found
