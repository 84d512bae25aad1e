"""Who bills the members from month to month."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from billing_worker.accounts.models import BillingLease
from billing_worker.accounts.services import set_biller
from billing_worker.accounts.states import Biller
from billing_worker.core.periods import Period
from cohorts.models import CohortMember
from cohorts.states import BILLED_BY_STRIPE


def extend_leases(*, actor: str, now: datetime) -> int:
    """Give every member of a cohort that Stripe bills its leases for the present month and the next one.

    Months from the dual run's on that have a lease keep it, whatever it says: a person may have handed one back to
    legacy. Each new lease is audited and committed on its own, so that it is safe to interrupt and to repeat. Answers
    how many were new.
    """
    period = Period.of(now)
    added = 0
    for month in (period, period.next()):
        members = CohortMember.objects.filter(
            cohort__state__in=BILLED_BY_STRIPE, cohort__dual_run_period__lte=str(month)
        ).select_related("cohort")
        leased = set(BillingLease.objects.filter(period=str(month)).values_list("account_id", flat=True))
        for member in members:
            if member.account_id not in leased:
                added += _add_lease(member=member, month=month, actor=actor, now=now)
    return added


@transaction.atomic
def _add_lease(*, member: CohortMember, month: Period, actor: str, now: datetime) -> int:
    if BillingLease.objects.filter(account_id=member.account_id, period=str(month)).exists():
        return 0
    set_biller(
        account_id=member.account_id, period=month, biller=Biller.STRIPE, actor=actor,
        reason=f"cohort {member.cohort.name} is billed by Stripe since {member.cohort.dual_run_period}", now=now,
    )  # fmt: skip
    return 1
