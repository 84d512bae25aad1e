"""What reconciliation knows, for the console and for the cohort gate."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from reconciliation.models import AccountResult, Drift, ReconciliationRun
from reconciliation.states import DriftState, RunState


@dataclass(frozen=True, slots=True)
class PeriodEvidence:
    """The newest finished run that covers all of the named payers, and what it found for them."""

    run_id: int
    period: str
    finished_at: datetime
    results: tuple[AccountResult, ...]
    missing_account_ids: tuple[int, ...]

    @property
    def is_clean(self) -> bool:
        """Every payer was checked and not one cent differs, cancelling errors included."""
        return not self.missing_account_ids and all(
            result.drift_count == 0 and result.gross_minor == 0 and result.difference_minor == 0
            for result in self.results
        )


def get_period_evidence(*, period: str, scope: str, payer_ids: Collection[int]) -> PeriodEvidence | None:
    """The newest finished run for this scope (or for everything) and period, narrowed to these payers."""
    run = (
        ReconciliationRun.objects.filter(period=period, state=RunState.FINISHED, scope__in={scope, ""})
        .order_by("-pk")
        .first()
    )
    if run is None or run.finished_at is None:
        return None
    results = tuple(AccountResult.objects.filter(run=run, account_id__in=payer_ids).select_related("account"))
    missing = set(payer_ids) - {result.account_id for result in results}
    return PeriodEvidence(run.pk, run.period, run.finished_at, results, tuple(sorted(missing)))


def get_open_drifts(*, period: str, payer_ids: Collection[int]) -> QuerySet[Drift]:
    """Drifts that a run still finds, accepted ones included: acceptance explains a drift, it does not remove it."""
    return (
        Drift.objects.filter(period=period, account_id__in=payer_ids)
        .exclude(state=DriftState.RESOLVED)
        .select_related("account", "owner")
    )


def get_found_drifts(run: ReconciliationRun) -> QuerySet[Drift]:
    """The drifts that this run found and that no later one has looked at since, by account and kind."""
    return (
        Drift.objects.filter(last_run=run)
        .exclude(state=DriftState.RESOLVED)
        .select_related("account")
        .order_by("account_id", "kind")
    )
