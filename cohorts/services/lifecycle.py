"""From ready through the dual run to a clean cycle."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.services import set_biller
from billing_worker.accounts.states import Biller
from billing_worker.core.errors import Conflict
from billing_worker.core.periods import Period
from cohorts.gate import GateReport, evaluate_gate
from cohorts.models import Cohort
from cohorts.states import TRANSITIONS, CohortState


class WrongCohortState(Conflict):
    """The cohort is not in the state that this step starts from. The message names both."""

    code = "wrong_cohort_state"


class GateClosed(Conflict):
    """A condition of the gate is not met. The message lists each of them."""

    code = "gate_closed"


def require_transition(cohort: Cohort, target: CohortState) -> None:
    """Raises WrongCohortState unless the table in `cohorts.states` allows the step."""
    if target not in TRANSITIONS[CohortState(cohort.state)]:
        raise WrongCohortState(
            f"cohort {cohort.name} is in state {cohort.get_state_display().lower()}; "
            f"it can't become {target.label.lower()}"
        )


@transaction.atomic
def start_dual_run(*, cohort_id: int, actor: str, now: datetime) -> Cohort:
    """Hand the dual-run period, and the month after it whose fees Stripe bills in advance, to Stripe.

    From here legacy computes these members in shadow. Every lease is changed and audited in this transaction.

    Raises:
        WrongCohortState: the cohort is not ready.
    """
    cohort = Cohort.objects.select_for_update().get(pk=cohort_id)
    require_transition(cohort, CohortState.DUAL_RUN)
    period = Period.parse(cohort.dual_run_period)
    for account_id in cohort.members.values_list("account_id", flat=True):
        for month in (period, period.next()):
            set_biller(
                account_id=account_id, period=month, biller=Biller.STRIPE, actor=actor,
                reason=f"dual run of cohort {cohort.name}", now=now,
            )  # fmt: skip
    cohort.state, cohort.dual_run_at = CohortState.DUAL_RUN, now
    cohort.save()
    record_audit(
        actor=actor, action="cohort.dual_run_started", subject_type="cohort", subject_id=cohort.pk, at=now,
        after={"period": str(period)},
    )  # fmt: skip
    return cohort


@transaction.atomic
def open_gate(*, cohort_id: int, actor: str, now: datetime) -> tuple[Cohort, GateReport]:
    """Freeze the evidence of a clean cycle, so that it can be signed.

    Raises:
        WrongCohortState: the cohort is not in its dual run.
        GateClosed: a condition is not met.
    """
    cohort = Cohort.objects.select_for_update().get(pk=cohort_id)
    require_transition(cohort, CohortState.CLEAN)
    report = evaluate_gate(cohort=cohort, now=now)
    if report is None or not report.is_open:
        failed = [
            f"{check.name}: {check.detail}" for check in (report.checks if report else ()) if not check.passed
        ]
        raise GateClosed(f"the gate of cohort {cohort.name} is closed. " + ". ".join(failed))
    cohort.state, cohort.clean_at = CohortState.CLEAN, now
    cohort.evidence, cohort.evidence_hash = report.evidence, report.evidence_hash
    cohort.save()
    record_audit(
        actor=actor, action="cohort.gate_opened", subject_type="cohort", subject_id=cohort.pk, at=now,
        after={"evidence_hash": cohort.evidence_hash},
    )  # fmt: skip
    return cohort, report
