"""The gate: what must be true before people are asked to sign, each condition with the figures behind it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from billing_worker.accounts.models import Account
from billing_worker.accounts.selectors import get_billers
from billing_worker.accounts.states import Biller
from billing_worker.core.money import format_minor
from billing_worker.core.periods import Period
from cohorts.models import Cohort
from cohorts.selectors import get_payers
from cohorts.states import ProvisioningState
from invoices.selectors import count_undelivered
from metering.parity.config import get_clean_demand
from metering.parity.selectors import get_clean_streak
from metering.selectors import count_unsettled_usage
from reconciliation.selectors import PeriodEvidence, get_open_drifts, get_period_evidence

#: Drifts that the gate names before it only counts the others.
DRIFTS_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class GateCheck:
    """One condition. `detail` gives the figures, and when it is not met, what to do."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class GateReport:
    """All conditions, and the evidence that a signature would cover. `reconciled` names the run that it rests on.

    `not_asked` says what this installation does not ask for and why, so that nobody takes it for met.
    """

    checks: tuple[GateCheck, ...]
    evidence: dict[str, Any]
    reconciled: str = ""
    not_asked: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def evidence_hash(self) -> str:
        """SHA-256 over the canonical JSON of the evidence."""
        canonical = json.dumps(self.evidence, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Scene:
    cohort: Cohort
    period: Period
    payers: list[Account]
    member_ids: list[int]
    found: PeriodEvidence | None
    now: datetime

    @property
    def payer_ids(self) -> list[int]:
        return [payer.pk for payer in self.payers]


def evaluate_gate(*, cohort: Cohort, now: datetime) -> GateReport | None:
    """Look at everything the gate depends on; None while the cohort has no dual-run period. Writes nothing."""
    if not cohort.dual_run_period:
        return None
    period = Period.parse(cohort.dual_run_period)
    payers = get_payers(cohort)
    found = get_period_evidence(
        period=str(period), scope=cohort.name, payer_ids=[payer.pk for payer in payers]
    )
    member_ids = list(cohort.members.values_list("account_id", flat=True))
    scene = _Scene(cohort, period, payers, member_ids, found, now)
    checks = tuple(made for check in CHECKS if (made := check(scene)) is not None)
    reconciled = f"run {found.run_id}, {found.finished_at:%Y-%m-%d %H:%M} UTC" if found else ""
    not_asked = (
        () if get_clean_demand() else ("Usage parity: nothing is compared here (PARITY_SOURCE is empty)",)
    )
    return GateReport(checks, _build_evidence(scene, checks), reconciled, not_asked)


def _build_evidence(scene: _Scene, checks: tuple[GateCheck, ...]) -> dict[str, Any]:
    """What is signed for: members, figures per account, and conditions. Run numbers and times are not part of it."""
    results = scene.found.results if scene.found else ()
    return {
        "cohort": scene.cohort.name,
        "period": str(scene.period),
        "members": scene.member_ids,
        "checks": [{"name": check.name, "passed": check.passed} for check in checks],
        "results": [
            {
                "account_id": result.account_id,
                "currency": result.currency,
                "legacy_minor": result.legacy_minor,
                "stripe_minor": result.stripe_minor,
                "gross_minor": result.gross_minor,
            }
            for result in sorted(results, key=lambda result: (result.account_id, result.currency))
        ],
    }


def _check_provisioned(scene: _Scene) -> GateCheck:
    missing = scene.cohort.members.exclude(provisioning=ProvisioningState.PROVISIONED).count()
    total = len(scene.member_ids)
    detail = f"{total - missing} of {total} members have their customer and subscription"
    return GateCheck("Provisioned at Stripe", missing == 0, detail)


def _check_period_over(scene: _Scene) -> GateCheck:
    end = scene.period.end_at
    is_over = scene.now >= end
    verb = "ended" if is_over else "ends"
    return GateCheck("Dual-run period is over", is_over, f"{scene.period} {verb} at {end:%Y-%m-%d %H:%M} UTC")


def _check_leases(scene: _Scene) -> GateCheck:
    billers = get_billers(scene.period, account_ids=scene.member_ids)
    ours = sum(biller == Biller.STRIPE for biller in billers.values())
    return GateCheck(
        "Billed by Stripe alone",
        ours == len(billers),
        f"{ours} of {len(billers)} leases for {scene.period} say Stripe",
    )


def _check_usage(scene: _Scene) -> GateCheck:
    left = count_unsettled_usage(scene.period, account_ids=scene.member_ids)
    detail = (
        "all usage of the period is with Stripe"
        if not left
        else f"not with Stripe yet: {_count(left, 'usage figure')}"
    )
    return GateCheck("Usage is all sent", left == 0, detail)


def _check_parity(scene: _Scene) -> GateCheck | None:
    """Not a condition where nothing is compared. The hours grow and are not signed for; that they suffice is."""
    demand = get_clean_demand()
    if demand is None:
        return None
    streak = get_clean_streak(now=scene.now, source=demand.source)
    detail = (
        f"clean for {_count(streak.hours, 'hour')} in {_count(streak.checks, 'check')} against {demand.source}; "
        f"{demand.hours} asked for"
    )
    return GateCheck("Usage parity", streak.checks > 0 and streak.hours >= demand.hours, detail)


def _check_documents(scene: _Scene) -> GateCheck:
    left = count_undelivered(account_ids=scene.payer_ids)
    detail = (
        "every invoice was rendered, stored and mailed"
        if not left
        else f"not delivered: {_count(left, 'invoice')}"
    )
    return GateCheck("Invoices are delivered", left == 0, detail)


def _check_reconciled(scene: _Scene) -> GateCheck:
    name = "Zero drift"
    if scene.found is None:
        return GateCheck(
            name, False, f"{scene.period} has not been reconciled: run reconcile --period {scene.period}"
        )
    if scene.found.missing_account_ids:
        missing = ", ".join(str(pk) for pk in scene.found.missing_account_ids)
        return GateCheck(name, False, f"run {scene.found.run_id} did not cover account {missing}")
    drifts = list(get_open_drifts(period=str(scene.period), payer_ids=scene.payer_ids))
    if drifts or not scene.found.is_clean:
        listed = "; ".join(
            f"{drift.account_id} {drift.get_cause_display().lower()} "
            f"{format_minor(drift.difference_minor, drift.currency)}"
            for drift in drifts[:DRIFTS_NAMED]
        )
        more = f"; and {len(drifts) - DRIFTS_NAMED} more" if len(drifts) > DRIFTS_NAMED else ""
        return GateCheck(name, False, f"{_count(len(drifts), 'drift')}: {listed}{more}")
    return GateCheck(
        name, True, f"run {scene.found.run_id}: {len(scene.found.results)} accounts, not one cent apart"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


CHECKS: Final[tuple[Callable[[_Scene], GateCheck | None], ...]] = (
    _check_provisioned,
    _check_period_over,
    _check_leases,
    _check_usage,
    _check_parity,
    _check_documents,
    _check_reconciled,
)
