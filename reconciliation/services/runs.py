"""Reconciliation's only writer: compare the ledgers, keep what was found, and let people answer for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.db import transaction

from billing_worker.accounts.selectors import get_handed_back
from billing_worker.accounts.states import Biller
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import AlertName, Severity
from billing_worker.catalog.sampled.charging import SampledCharges
from billing_worker.core.errors import Conflict, InvalidInput
from billing_worker.core.money import format_minor
from billing_worker.core.periods import Period
from reconciliation import ledgers
from reconciliation.ledger_lines import LedgerEntry
from reconciliation.matching import Difference, compare_entries, compare_handed_back
from reconciliation.matching_jobs import add_requested_jobs
from reconciliation.matching_sampled import compare_sampled
from reconciliation.models import AccountResult, Drift, ReconciliationRun
from reconciliation.services.drifts import record_difference, resolve_drift
from reconciliation.states import DriftState, RunState

log = structlog.get_logger(__name__)

#: A run takes seconds. One that is `running` longer was killed.
RUN_TIMEOUT: Final = timedelta(hours=1)


class PeriodNotOver(Conflict):
    """The period has not ended, so neither ledger is complete. Reconcile it after its last day, or pass a past one."""

    code = "period_not_over"


@dataclass(frozen=True, slots=True)
class PayerComparison:
    """One payer's two sides in one currency, tax included, and where they differ.

    The old service never billed sampled meters: its side is completed by what our own samples come to. `biller` says
    legacy where the month was handed back.
    """

    account_id: int
    currency: str
    legacy_minor: int
    stripe_minor: int
    differences: tuple[Difference, ...]
    biller: Biller = Biller.STRIPE

    @property
    def difference_minor(self) -> int:
        """Stripe less legacy; of a month that was handed back, what Stripe billed as well."""
        return self.stripe_minor - (0 if self.biller == Biller.LEGACY else self.legacy_minor)

    @property
    def gross_minor(self) -> int:
        return sum(difference.gross_minor for difference in self.differences)


def compare_period(*, period: Period, payer_ids: Collection[int]) -> list[PayerComparison]:
    """Read both ledgers and compare them per payer and currency, payers without a line included. Writes nothing.

    A month that was handed back to legacy (its lease is a row that says so) is legacy's alone: nothing of Stripe's may
    stand there.

    Raises:
        LegacyUnavailable: the old database can't be read.
    """
    legacy = ledgers.read_legacy_ledger(period=period, payer_ids=payer_ids)
    stripe = ledgers.read_stripe_ledger(period=period, payer_ids=payer_ids)
    contexts = ledgers.read_payer_terms(period=period, payer_ids=payer_ids)
    sampled = ledgers.read_sampled_ledger(period=period, payer_ids=payer_ids)
    handed_back = get_handed_back(period, account_ids=payer_ids)
    own = {(pk, context.currency) for pk, context in contexts.items()}
    keys = legacy.keys() | stripe.keys() | sampled.keys() | own
    comparisons = []
    for account_id, currency in sorted(keys):
        context, ours = contexts[account_id], stripe.get((account_id, currency))
        theirs = legacy.get((account_id, currency))
        is_handed_back = account_id in handed_back
        if currency == context.currency and not is_handed_back:
            theirs = add_requested_jobs(theirs or LedgerEntry(account_id, currency), context.terms.jobs, ours)
        compare = compare_handed_back if is_handed_back else compare_entries
        differences = compare(legacy=theirs, stripe=ours, terms=context.terms, currency=currency)
        expected = sampled.get((account_id, currency), ())
        if difference := compare_sampled(expected=expected, stripe=ours, currency=currency):
            differences.append(difference)
        comparisons.append(
            PayerComparison(
                account_id=account_id,
                currency=currency,
                legacy_minor=(theirs.total_minor if theirs else 0) + _expect_sampled(expected, ours),
                stripe_minor=ours.total_minor + ours.sampled_minor if ours else 0,
                differences=tuple(differences),
                biller=Biller.LEGACY if is_handed_back else Biller.STRIPE,
            )
        )
    return comparisons


def _expect_sampled(expected: Sequence[SampledCharges], stripe: LedgerEntry | None) -> int:
    """What our samples come to. Tax on them has nothing to be compared with: both sides have what Stripe has."""
    return sum(charges.amount_minor for charges in expected) + (stripe.sampled_tax_minor if stripe else 0)


def run_reconciliation(
    *,
    period: Period,
    payer_ids: Collection[int],
    scope: str,
    now: datetime,
) -> ReconciliationRun:
    """Compare the ledgers for a period and keep the result: a run, a row per payer and currency, drifts found or gone.

    Results and drifts are written in one transaction: a killed run leaves a row in state `running` and no half of a
    result. `payer_ids` are accounts that are billed themselves; `scope` is a cohort's name, or empty.

    Raises:
        PeriodNotOver: the period still runs.
        InvalidInput: no account to check.
        LegacyUnavailable: the old database can't be read; the run is kept as failed.
    """
    if now < period.end_at:
        raise PeriodNotOver(f"{period} ends at {period.end_at:%Y-%m-%d %H:%M} UTC; reconcile it after that")
    if not payer_ids:
        raise InvalidInput(
            f"no billed account in {scope or 'the whole book'} for {period}: nothing to reconcile"
        )
    close_killed_runs(now=now)
    run = ReconciliationRun.objects.create(period=str(period), scope=scope, started_at=now)
    try:
        comparisons = compare_period(period=period, payer_ids=payer_ids)
        with transaction.atomic():
            _record(run=run, comparisons=comparisons, payer_ids=payer_ids, now=now)
    except Exception as error:
        # Whatever it was is kept on the row before it goes on its way.
        ReconciliationRun.objects.filter(pk=run.pk, state=RunState.RUNNING).update(
            state=RunState.FAILED, finished_at=now, error=f"{type(error).__name__}: {error}"[:2000]
        )
        raise
    _alert(run=run, comparisons=comparisons, now=now)
    run.refresh_from_db()
    log.info(
        "reconciliation_finished",
        run=run.pk,
        period=run.period,
        scope=run.scope,
        accounts=run.accounts_checked,
        drifting=run.accounts_with_drift,
    )
    return run


def close_killed_runs(*, now: datetime) -> int:
    """Mark runs that a killed process left behind as failed; answers how many there were."""
    return ReconciliationRun.objects.filter(state=RunState.RUNNING, started_at__lt=now - RUN_TIMEOUT).update(
        state=RunState.FAILED, finished_at=now, error="the process ended before the run did"
    )


def _record(
    *,
    run: ReconciliationRun,
    comparisons: list[PayerComparison],
    payer_ids: Collection[int],
    now: datetime,
) -> None:
    AccountResult.objects.bulk_create(
        [
            AccountResult(
                run=run,
                account_id=comparison.account_id,
                currency=comparison.currency,
                legacy_minor=comparison.legacy_minor,
                stripe_minor=comparison.stripe_minor,
                gross_minor=comparison.gross_minor,
                drift_count=len(comparison.differences),
                biller=comparison.biller,
            )
            for comparison in comparisons
        ],
        batch_size=1_000,
    )
    # All open drifts of the period: few, and their accounts may be too many to name in a query.
    checked = set(payer_ids)
    found = Drift.objects.select_for_update().filter(period=run.period).exclude(state=DriftState.RESOLVED)
    open_drifts = {drift.pk: drift for drift in found if drift.account_id in checked}
    for comparison in comparisons:
        for difference in comparison.differences:
            drift = record_difference(
                run=run,
                account_id=comparison.account_id,
                currency=comparison.currency,
                difference=difference,
                now=now,
            )
            open_drifts.pop(drift.pk, None)
    for drift in open_drifts.values():
        resolve_drift(drift=drift, run=run, now=now)
    drifting = {comparison.account_id for comparison in comparisons if comparison.differences}
    ReconciliationRun.objects.filter(pk=run.pk).update(
        state=RunState.FINISHED,
        finished_at=now,
        accounts_checked=len({comparison.account_id for comparison in comparisons}),
        accounts_with_drift=len(drifting),
    )


def _alert(*, run: ReconciliationRun, comparisons: list[PayerComparison], now: datetime) -> None:
    subject = f"{run.scope or 'all accounts'} {run.period}"
    resolve_alert(name=AlertName.RECONCILIATION_FAILED, subject=subject, now=now)
    drifting = [comparison for comparison in comparisons if comparison.differences]
    if not drifting:
        resolve_alert(name=AlertName.DRIFT_FOUND, subject=subject, now=now)
        return
    worst = max(drifting, key=lambda comparison: comparison.gross_minor)
    raise_alert(
        name=AlertName.DRIFT_FOUND,
        severity=Severity.CRITICAL,
        subject=subject,
        detail=f"{len(drifting)} of {len(comparisons)} accounts drift; the largest is account {worst.account_id}, "
        f"{format_minor(worst.difference_minor, worst.currency)}",
        now=now,
        context={"run": run.pk},
    )
