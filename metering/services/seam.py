"""The seam: which meter events go to Stripe and which stay in shadow.

One rule, written once as a query, so that the order in which leases, `SHADOW` and `BILL_FROM` were changed can't
matter: an event is billable when its account and period are leased to Stripe, shadow is off for the account, and its
bucket begins at or after `BILL_FROM`. `align_with_seam` brings every event that Stripe can't have counted to that rule.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
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

    What Stripe may have counted does not go back; what it refused for now does, however often it was tried. Two
    updates; run it inside a transaction or alone.
    """
    events = MeterEvent.objects.all()
    if account_id is not None:
        events = events.filter(account=account_id)
    if period is not None:
        events = events.filter(period=period)
    armed = events.filter(_billable(seam), state=EventState.SHADOW).update(state=EventState.PENDING)
    return Alignment(armed=armed, disarmed=_disarm(events, seam))


def disarm_events(*, seam: Seam) -> int:
    """The half of `align_with_seam` that stops: it reads what waits, where the other reads all that is in shadow."""
    return _disarm(MeterEvent.objects.all(), seam)


def _disarm(events: QuerySet[MeterEvent], seam: Seam) -> int:
    uncounted = events.filter(~_billable(seam), state=EventState.PENDING, uncertain_at__isnull=True)
    return uncounted.update(state=EventState.SHADOW)


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


def count_beyond_seam(*, seam: Seam, account_ids: Collection[int]) -> int:
    """How many of these accounts' events went out, or may have, although the rule now says shadow."""
    attempted = Q(state__in=[EventState.SENDING, EventState.UNRESOLVED, EventState.SENT]) | Q(
        state=EventState.PENDING, uncertain_at__isnull=False
    )
    return MeterEvent.objects.filter(attempted, ~_billable(seam), account__in=account_ids).count()


def parse_bound(text: str, *, name: str) -> datetime:
    """`2026-10-05` (its midnight, UTC) or an instant with zone that is a bucket's bound, in UTC.

    Raises:
        InvalidInput: anything else, with `name` in the message.
    """
    try:
        moment = datetime.fromisoformat(text)
        if len(text) == len("2026-10-05"):
            moment = moment.replace(tzinfo=UTC)
        moment = to_utc(moment)
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"{name} {text!r} is neither a day like 2026-10-05 nor an instant with zone like 2026-10-05T00:00:00Z"
        ) from None
    check_bound(moment, name=name, field=name)
    return moment


def check_bound(moment: datetime, *, name: str, field: str) -> None:
    """Raises InvalidInput if no bucket can begin at this instant."""
    if to_utc(moment).time() != datetime.min.time():
        raise InvalidInput(
            f"{name} must lie on a bucket bound: midnight UTC, because usage is told by the day",
            fields={field: ["is not midnight UTC"]},
        )


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
    if bill_from is not None:
        check_bound(bill_from, name="BILL_FROM", field="bill_from")
    known = _check_change(account_ids, reason)
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


@transaction.atomic
def remove_seam(*, account_ids: Collection[int], actor: str, reason: str, now: datetime) -> int:
    """Remove the settings of these accounts, with an audit entry for each. Returns how many had one.

    Raises:
        InvalidInput: no reason, or an unknown account.
    """
    known = _check_change(account_ids, reason)
    held = list(_lock_seams(known))
    for row in held:
        record_audit(
            actor=actor,
            action="metering.seam_reset",
            subject_type="account",
            subject_id=row.account_id,
            at=now,
            reason=reason,
            before=_describe(row.shadow, row.bill_from),
            after=None,
        )
    SeamSetting.objects.filter(pk__in=[row.pk for row in held]).delete()
    return len(held)


def _check_change(account_ids: Collection[int], reason: str) -> set[int]:
    """The accounts, all of them known. Raises InvalidInput otherwise, or without a reason."""
    if not reason.strip():
        raise InvalidInput(
            "give a reason: a change of the seam is audited", fields={"reason": ["is missing"]}
        )
    known = set(Account.objects.filter(pk__in=account_ids).values_list("pk", flat=True))
    if unknown := sorted(set(account_ids) - known):
        raise InvalidInput(f"there is no account {unknown[0]}", fields={"account_ids": ["unknown account"]})
    return known


def _lock_seams(account_ids: set[int]) -> QuerySet[SeamSetting]:
    return SeamSetting.objects.select_for_update().filter(account__in=account_ids).order_by("account_id")


def _describe(shadow: bool, bill_from: datetime | None) -> dict[str, object]:
    return {"shadow": shadow, "bill_from": bill_from.isoformat() if bill_from else None}
