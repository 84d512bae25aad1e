"""The seam: which meter events go to Stripe and which stay in shadow.

One rule, written once as a query, so that the order in which leases, `SHADOW` and `BILL_FROM` were changed can't
matter: an event is billable when its account and period are leased to Stripe, shadow is off for the account, and its
bucket begins at or after `BILL_FROM`. `align_with_seam` brings every event that was never attempted to that rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.models import Account, BillingLease
from billing_worker.accounts.states import Biller
from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import to_utc
from metering.models import MeterEvent, SeamSetting
from metering.states import EventState


@dataclass(frozen=True, slots=True, kw_only=True)
class Seam:
    """The environment's default for accounts without a row of their own. `bill_from` None means from the start."""

    shadow: bool
    bill_from: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """How many events `align_with_seam` moved."""

    armed: int
    disarmed: int


def align_with_seam(*, seam: Seam, account_id: int | None = None, period: str | None = None) -> Alignment:
    """Arm the shadow events that are billable now, put back into shadow those that no longer are.

    Only events that were never attempted go back. Two updates; run it inside a transaction or alone.
    """
    events = MeterEvent.objects.all()
    if account_id is not None:
        events = events.filter(account=account_id)
    if period is not None:
        events = events.filter(period=period)
    billable = _billable(seam)
    armed = events.filter(billable, state=EventState.SHADOW).update(state=EventState.PENDING)
    disarmed = events.filter(~billable, state=EventState.PENDING, attempts=0).update(state=EventState.SHADOW)
    return Alignment(armed=armed, disarmed=disarmed)


def _billable(seam: Seam) -> Q:
    leased = Exists(
        BillingLease.objects.filter(
            account=OuterRef("account_id"), period=OuterRef("period"), biller=Biller.STRIPE
        )
    )
    own = SeamSetting.objects.filter(account=OuterRef("account_id"))
    open_for_account = [
        Q(Exists(own.filter(shadow=False, bill_from__isnull=True))),
        Q(Exists(own.filter(shadow=False, bill_from__lte=OuterRef("bucket_start_at")))),
    ]
    if not seam.shadow:
        default = ~Q(Exists(own))
        if seam.bill_from is not None:
            default &= Q(bucket_start_at__gte=seam.bill_from)
        open_for_account.append(default)
    return Q(leased) & reduce(or_, open_for_account)


@transaction.atomic
def set_seam(
    *,
    account_ids: list[int],
    shadow: bool,
    bill_from: datetime | None,
    actor: str,
    reason: str,
    now: datetime,
) -> int:
    """Set the seam of these accounts (a cohort's members, for one), with an audit entry for each. Returns how many.

    Raises:
        InvalidInput: no reason, an unknown account, or `bill_from` is not on a bucket bound (midnight UTC).
    """
    if not reason.strip():
        raise InvalidInput(
            "give a reason: a change of the seam is audited", fields={"reason": ["is missing"]}
        )
    if bill_from is not None and to_utc(bill_from).time() != datetime.min.time():
        raise InvalidInput(
            "BILL_FROM must lie on a bucket bound: midnight UTC, because usage is told by the day",
            fields={"bill_from": ["is not midnight UTC"]},
        )
    known = set(Account.objects.filter(pk__in=account_ids).values_list("pk", flat=True))
    if unknown := sorted(set(account_ids) - known):
        raise InvalidInput(f"there is no account {unknown[0]}", fields={"account_ids": ["unknown account"]})
    before = {row.account_id: row for row in _lock_seams(known)}
    for account_id in sorted(known):
        old = before.get(account_id)
        SeamSetting.objects.update_or_create(
            account_id=account_id, defaults={"shadow": shadow, "bill_from": bill_from, "changed_at": now}
        )
        record_audit(
            actor=actor,
            action="metering.seam_set",
            subject_type="account",
            subject_id=account_id,
            at=now,
            reason=reason,
            before=_describe(old.shadow, old.bill_from) if old else None,
            after=_describe(shadow, bill_from),
        )
    return len(known)


def _lock_seams(account_ids: set[int]) -> QuerySet[SeamSetting]:
    return SeamSetting.objects.select_for_update().filter(account__in=account_ids).order_by("account_id")


def _describe(shadow: bool, bill_from: datetime | None) -> dict[str, object]:
    return {"shadow": shadow, "bill_from": bill_from.isoformat() if bill_from else None}
