"""Senders say when they have pushed a month whole."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import transaction
from django.db.models import QuerySet

from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.models import Account
from billing_worker.alerts.kicks import kick
from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period
from metering.draft_window.completeness import ALL
from metering.draft_window.models import UsageCompletion

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """How many accounts (or `all` as one) were declared now, and how many had been before."""

    period: Period
    new: int
    already: int


@transaction.atomic
def declare_complete(
    *, period: Period, account_ids: Collection[int] | None, actor: str, now: datetime
) -> Declared:
    """Note that all usage of the month was pushed, for these accounts or (None) for every account. Idempotent, audited.

    Usage may still be stated afterwards and is billed: on the draft while that is open, as a true-up later.

    Raises:
        InvalidInput: the month is not over (UTC), or there is no such account; nothing is noted then.
    """
    if period.end_at > now:
        raise InvalidInput(
            f"{period} is not over: it can be complete from {period.end_at:%Y-%m-%d %H:%M} UTC on",
            fields={"period": ["is not over"]},
        )
    ids = sorted(set(account_ids)) if account_ids is not None else None
    if ids is not None:
        _check_known(ids)
    wanted: dict[str, int | None] = {ALL: None} if ids is None else {str(pk): pk for pk in ids}
    held = set(_completions(period, wanted).values_list("scope", flat=True))
    missing = {scope: pk for scope, pk in wanted.items() if scope not in held}
    UsageCompletion.objects.bulk_create(
        [
            UsageCompletion(
                period=str(period), scope=scope, account_id=pk, declared_by=actor, declared_at=now
            )
            for scope, pk in missing.items()
        ],
        ignore_conflicts=True,
    )
    if missing:
        _audit(period, missing, actor, now)
        kick("metering.sweep_draft_holds")
    return Declared(period=period, new=len(missing), already=len(wanted) - len(missing))


def get_completion(account_id: int, period: Period) -> UsageCompletion | None:
    """The declaration that covers the account's month, the account's own first."""
    rows = _completions(period, [ALL, str(account_id)])
    return min(rows, key=lambda row: row.scope == ALL, default=None)


def _completions(period: Period, scopes: Collection[str]) -> QuerySet[UsageCompletion]:
    return UsageCompletion.objects.filter(scope__in=scopes, period=str(period))


def _check_known(account_ids: Collection[int]) -> None:
    known = set(Account.objects.filter(pk__in=account_ids).values_list("pk", flat=True))
    if unknown := sorted(set(account_ids) - known):
        raise InvalidInput(
            f"there is no account {unknown[0]}",
            fields={"account_ids": [f"{pk} is not a known account" for pk in unknown[:20]]},
        )


def _audit(period: Period, declared: dict[str, int | None], actor: str, now: datetime) -> None:
    """One entry for each account, so that an account's history shows it; one for `all`."""
    for scope in declared:
        record_audit(
            actor=actor,
            action="metering.usage_declared_complete",
            subject_type="account",
            subject_id=scope,
            at=now,
            after={"period": str(period)},
        )
    log.info("usage_declared_complete", period=str(period), accounts=len(declared), actor=actor)
