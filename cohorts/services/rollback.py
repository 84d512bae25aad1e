"""Handing a cohort back to legacy, and taking that back: the decisions. What they lead to at Stripe is settled after.

A decision is committed whole before anything changes: the cohort leaves its state, its signatures are void, every payer
has a step. Leases stay as they are until Stripe has confirmed each payer's end (see `rollback_steps`).
"""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction

from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.selectors import get_now_for
from billing_worker.alerts.kicks import kick
from billing_worker.alerts.services import raise_alert
from billing_worker.alerts.states import AlertName, Severity
from billing_worker.core.errors import Conflict, InvalidInput
from billing_worker.core.periods import Period
from cohorts.models import Cohort, CohortMember, Rollback, RollbackStep, SignOff
from cohorts.rolling_back import RollbackPlan, plan_rollback
from cohorts.services.lifecycle import WrongCohortState, require_transition
from cohorts.states import CohortState, RollbackState, StepState

MAX_REASON = 400
TASK = "cohorts.settle_rollback"


class CannotRollBack(Conflict):
    """The cohort can't go back from that month on. The message names the earliest month, or what is in the way."""

    code = "cannot_roll_back"


class AlreadyRolledBack(Conflict):
    """The cohort goes back from another month already. Withdraw that first, or leave it."""

    code = "already_rolled_back"


class CannotWithdraw(Conflict):
    """The rollback stands: its month has begun, or an account moves with another cohort by now."""

    code = "cannot_withdraw"


@transaction.atomic
def request_rollback(*, cohort_id: int, period: Period, reason: str, actor: str, now: datetime) -> Rollback:
    """Decide that legacy bills the cohort's accounts from `period` on, and wake a worker to see to it.

    From here on nothing can be signed, and no month from `period` on is leased to Stripe. Asking for the same again
    answers the rollback that there is.

    Raises:
        InvalidInput: no reason.
        WrongCohortState: a draft, which has nothing to hand back.
        AlreadyRolledBack: from another month.
        CannotRollBack: Stripe has begun the month; the message names the earliest.
    """
    reason = _check_reason(reason)
    cohort = Cohort.objects.select_for_update().get(pk=cohort_id)
    existing = Rollback.objects.select_for_update().filter(open_cohort=cohort).first()
    if existing is not None and existing.state != RollbackState.WITHDRAWING:
        if existing.from_period != str(period):
            raise AlreadyRolledBack(
                f"cohort {cohort.name} is rolled back from {existing.from_period} on already: withdraw that first"
            )
        return existing
    if existing is None:
        require_rollback(cohort)
    plan = plan_rollback(cohort=cohort, period=period, now=now)
    if plan.problems:
        raise CannotRollBack(f"cohort {cohort.name} can't be rolled back: {'; '.join(plan.problems)}")
    if existing is not None:
        rollback = _take_up_again(existing, period)
    else:
        rollback = _create(cohort, plan, reason=reason, actor=actor, now=now)
    record_audit(
        actor=actor, action="cohort.rolled_back", subject_type="cohort", subject_id=cohort.pk, at=now, reason=reason,
        before={"state": rollback.state_before, "evidence_hash": rollback.evidence_hash},
        after={"from": str(period), "payers": [row.payer.pk for row in plan.payers]},
    )  # fmt: skip
    raise_alert(
        name=AlertName.COHORT_ROLLED_BACK,
        severity=Severity.WARNING,
        subject=f"cohort {cohort.name}",
        detail=f"{actor} hands {len(plan.payers)} payers back to legacy from {period} on: {reason}",
        now=now,
        context={"cohort": cohort.pk},
    )
    kick(TASK, rollback.pk)
    return rollback


def require_rollback(cohort: Cohort) -> None:
    """Raises WrongCohortState unless the cohort is in a state from which it can be rolled back."""
    if cohort.state == CohortState.DRAFT:
        raise WrongCohortState(
            f"cohort {cohort.name} is a draft: legacy bills its accounts, so there is nothing to roll back. Change its"
            " members, or finish provision_cohort if that was interrupted, and roll it back then"
        )
    require_transition(cohort, CohortState.ROLLED_BACK)


def _create(cohort: Cohort, plan: RollbackPlan, *, reason: str, actor: str, now: datetime) -> Rollback:
    rollback = Rollback.objects.create(
        cohort=cohort, open_cohort=cohort, from_period=str(plan.period), reason=reason, requested_by=actor[:150],
        requested_at=now, state_before=cohort.state, evidence=cohort.evidence, evidence_hash=cohort.evidence_hash,
    )  # fmt: skip
    RollbackStep.objects.bulk_create(
        RollbackStep(
            rollback=rollback,
            payer=row.payer,
            account_ids=list(row.account_ids),
            stripe_subscription_id=row.subscription_id,
            period=str(plan.period),
        )
        for row in plan.payers
    )
    SignOff.objects.filter(cohort=cohort, voided_at__isnull=True).update(
        voided_at=now, void_reason=f"rolled back to legacy from {plan.period}: {reason}"[:255]
    )
    cohort.state = CohortState.ROLLED_BACK
    cohort.save(update_fields=["state"])
    return rollback


def _take_up_again(rollback: Rollback, period: Period) -> Rollback:
    """A withdrawal that did not come to its end: every payer goes back after all."""
    rollback.state, rollback.from_period, rollback.finished_at = RollbackState.RUNNING, str(period), None
    rollback.save(update_fields=["state", "from_period", "finished_at"])
    rollback.steps.update(state=StepState.PENDING, period=str(period), settled_at=None, error="")
    return rollback


@transaction.atomic
def withdraw_rollback(*, cohort_id: int, reason: str, actor: str, now: datetime) -> Rollback:
    """Take a rollback back before its month begins, and wake a worker: the subscriptions go on.

    A cohort that was ready is ready again. Any other is back in its dual run once all go on: its signatures stay void,
    so that two people sign anew.

    Raises:
        InvalidInput: no reason.
        WrongCohortState: the cohort is not rolled back.
        CannotWithdraw: a payer's month has begun, or an account joined another cohort.
    """
    reason = _check_reason(reason)
    cohort = Cohort.objects.select_for_update().get(pk=cohort_id)
    rollback = Rollback.objects.select_for_update().filter(open_cohort=cohort).first()
    if rollback is None:
        raise WrongCohortState(f"cohort {cohort.name} is not rolled back: there is nothing to withdraw")
    if rollback.state == RollbackState.WITHDRAWING:
        return rollback
    if begun := find_begun(rollback, now=now):
        raise CannotWithdraw(
            f"legacy bills account {begun[0].payer_id} since {begun[0].period}: the rollback of cohort {cohort.name}"
            " stands. Form a new cohort to move its accounts again"
        )
    _hold_again(cohort)
    rollback.state = RollbackState.WITHDRAWING
    rollback.withdrawn_by, rollback.withdrawn_at, rollback.withdraw_reason = actor[:150], now, reason
    rollback.save()
    rollback.steps.update(state=StepState.LIFTING, settled_at=None, error="")
    record_audit(
        actor=actor, action="cohort.rollback_withdrawn", subject_type="cohort", subject_id=cohort.pk, at=now,
        reason=reason, before={"from": rollback.from_period},
    )  # fmt: skip
    kick(TASK, rollback.pk)
    return rollback


def find_begun(rollback: Rollback, *, now: datetime) -> list[RollbackStep]:
    """The payers whose first month with legacy has begun, in their own customers' time."""
    steps = rollback.steps.select_related("payer__test_clock", "payer__parent__test_clock")
    return [step for step in steps if get_now_for(step.payer, now) >= Period.parse(step.period).start_at]


def _hold_again(cohort: Cohort) -> None:
    released = CohortMember.objects.filter(cohort=cohort, released_at__isnull=False)
    ids = list(released.values_list("account_id", flat=True))
    try:
        with transaction.atomic():
            released.update(released_at=None)
    except IntegrityError:
        other = (
            CohortMember.objects.filter(held_account__in=ids).exclude(cohort=cohort).select_related("cohort")
        )
        found = other.order_by("account_id").first()
        where = (
            f"account {found.account_id} moves with cohort {found.cohort.name}"
            if found
            else "an account moves"
        )
        raise CannotWithdraw(f"{where} by now: take it out there first") from None


def _check_reason(reason: str) -> str:
    if not (found := reason.strip()[:MAX_REASON]):
        raise InvalidInput(
            "say why: the reason is kept with the rollback", fields={"reason": ["is required"]}
        )
    return found
