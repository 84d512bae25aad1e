"""A cohort's own reconciliation, and what it means for signatures."""

from __future__ import annotations

from datetime import datetime

from billing_worker.core.periods import Period
from cohorts.models import Cohort
from cohorts.selectors import get_payers
from cohorts.services.lifecycle import WrongCohortState
from cohorts.services.signing import recheck_evidence
from reconciliation.models import ReconciliationRun
from reconciliation.services import run_reconciliation


def reconcile_cohort(
    *, cohort_id: int, actor: str, now: datetime, period: Period | None = None
) -> ReconciliationRun:
    """Compare the ledgers of the cohort's payers for its dual-run period (or another), then look at its evidence again.

    Raises:
        WrongCohortState: no period given, and the cohort has none yet.
        PeriodNotOver, LegacyUnavailable: see `run_reconciliation`.
    """
    cohort = Cohort.objects.get(pk=cohort_id)
    if period is None and not cohort.dual_run_period:
        raise WrongCohortState(f"cohort {cohort.name} has no dual-run period yet: provision it first")
    run = run_reconciliation(
        period=period or Period.parse(cohort.dual_run_period),
        payer_ids=[payer.pk for payer in get_payers(cohort)],
        scope=cohort.name,
        now=now,
    )
    recheck_evidence(cohort_id=cohort.pk, actor=actor, now=now)
    return run
