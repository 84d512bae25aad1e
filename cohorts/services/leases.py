"""Who bills the members from month to month."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from billing_worker.accounts.models import BillingLease
from billing_worker.accounts.services import set_biller
from billing_worker.accounts.states import Biller
from billing_worker.core.periods import Period
from cohorts.models import CohortMember, RollbackStep
from cohorts.services.changing import lock_members
from cohorts.states import BILLED_BY_STRIPE, CohortState, StepState


def extend_leases(*, actor: str, now: datetime) -> int:
    """Give every member of a cohort whose dual run has begun its leases for the present month and the next one.

    They say Stripe; for an account that was rolled back, from its month on, legacy: a row says so for good, until the
    account moves again. Months from the dual run's on that have a lease keep it, whatever it says: a person may have
    handed one back to legacy. Each new lease is audited and committed on its own, so that it is safe to interrupt and
    to repeat. Answers how many were new.
    """
    period = Period.of(now)
    added = 0
    for month in (period, period.next()):
        members = CohortMember.objects.filter(
            cohort__state__in=(*BILLED_BY_STRIPE, CohortState.ROLLED_BACK),
            cohort__dual_run_at__isnull=False,
            cohort__dual_run_period__lte=str(month),
        ).order_by("-pk")
        leased = set(BillingLease.objects.filter(period=str(month)).values_list("account_id", flat=True))
        steps = _read_steps()
        for member in members:
            if member.account_id not in leased:
                added += _add_lease(
                    member, step_id=steps.get((member.cohort_id, member.account_id)), month=month, actor=actor,
                    now=now,
                )  # fmt: skip
    return added


def _read_steps() -> dict[tuple[int, int], int]:
    """The step of each account of a cohort that is rolled back."""
    steps = RollbackStep.objects.filter(rollback__open_cohort__isnull=False).select_related("rollback")
    return {(step.rollback.cohort_id, pk): step.pk for step in steps for pk in step.account_ids}


@transaction.atomic
def _add_lease(member: CohortMember, *, step_id: int | None, month: Period, actor: str, now: datetime) -> int:
    # A rollback takes the same lock, so that no lease for Stripe comes after it turned them.
    lock_members(member.account_id)
    member = CohortMember.objects.select_related("cohort").get(pk=member.pk)
    if BillingLease.objects.filter(account_id=member.account_id, period=str(month)).exists():
        return 0
    step = RollbackStep.objects.get(pk=step_id) if step_id else None
    biller = _choose_biller(member, step, month)
    if biller is None:
        return 0
    cohort = member.cohort
    reason = (
        f"cohort {cohort.name} is billed by Stripe since {cohort.dual_run_period}"
        if biller == Biller.STRIPE
        else f"cohort {cohort.name} is rolled back to legacy"
    )
    set_biller(account_id=member.account_id, period=month, biller=biller, actor=actor, reason=reason, now=now)
    return 1


def _choose_biller(member: CohortMember, step: RollbackStep | None, month: Period) -> Biller | None:
    """None: nothing to say, because its rollback is under way, or because it moves with another cohort by now."""
    if member.cohort.state != CohortState.ROLLED_BACK:
        return Biller.STRIPE
    if step is None:
        return None
    if month < Period.parse(step.period):
        return Biller.STRIPE
    moves_again = CohortMember.objects.filter(
        held_account=member.account_id,
        cohort__state__in=BILLED_BY_STRIPE,
        cohort__dual_run_period__lte=str(month),
    )
    return Biller.LEGACY if step.state == StepState.DONE and not moves_again.exists() else None
