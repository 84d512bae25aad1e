"""What the cohort page shows, gathered in one place so that the template only lays it out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from billing_worker.accounts.models import AuditEntry
from billing_worker.core.money import format_minor
from billing_worker.core.periods import Period
from cohorts.gate import GateReport, evaluate_gate
from cohorts.models import Cohort, Rollback, SignOff, SubscriptionChange
from cohorts.rollback_page import PERMISSION as ROLLBACK_PERMISSION
from cohorts.rollback_page import RollbackPanel, build_rollback_panel
from cohorts.selectors import MemberRow, bills_through_parent, get_member_rows
from cohorts.states import FINANCE_ROLE, SIGNATURES_NEEDED, TRANSITIONS, WAY, CohortState
from metering.console.seam_form import PERMISSION as SEAM_PERMISSION
from reconciliation.models import Drift
from reconciliation.selectors import get_open_drifts

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

HISTORY_SHOWN = 12
PLAN_CHANGES_SHOWN = 8
#: How people read what the audit trail calls by its stable name.
HISTORY_LABELS = {
    "cohort.created": "Formed",
    "cohort.provisioned": "Provisioned at Stripe",
    "cohort.dual_run_started": "Dual run started",
    "cohort.gate_opened": "Gate opened",
    "cohort.signed_off": "Signed",
    "cohort.evidence_voided": "Signatures voided",
    "cohort.migrated": "Migrated",
    "cohort.members_changed": "Members changed",
    "cohort.rolled_back": "Rolled back to legacy",
    "cohort.rollback_finished": "Every payer handed back",
    "cohort.rollback_withdrawn": "Rollback withdrawn",
    "cohort.goes_on": "Goes on with Stripe",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One state on the way, and when the cohort reached it."""

    label: str
    at: datetime | None
    is_done: bool
    is_current: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """One payer's month, or a currency's sum of them, formatted. `is_apart` says that a cent differs somewhere."""

    legacy: str
    stripe: str
    difference: str
    is_apart: bool
    currency: str


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One member. `state` is clean, drift, unchecked, or rides: then its figures stand in its payer's row."""

    account_id: int
    name: str
    status: str
    provisioning: str
    problem: str
    payer: str
    state: str
    figures: tuple[Figures, ...]
    drifts: tuple[Drift, ...]


@dataclass(frozen=True, slots=True)
class Signing:
    """Who has signed, what is missing, and what this person may do about it."""

    signatures: tuple[SignOff, ...]
    valid_count: int
    needed: int
    missing: str
    can_sign: bool
    has_signed: bool


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """Something that was done with the cohort."""

    at: datetime
    label: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class CohortPage:
    """Everything on the page. `has_changed`: what was signed for is not what is found now."""

    cohort: Cohort
    period_name: str
    steps: tuple[Step, ...]
    gate: GateReport | None
    reconciled: str
    rows: tuple[AccountRow, ...]
    totals: tuple[Figures, ...]
    gross: tuple[str, ...]
    clean_count: int
    drifting_count: int
    riding_count: int
    signing: Signing
    history: tuple[HistoryLine, ...]
    plan_changes: tuple[SubscriptionChange, ...]
    actions: tuple[str, ...]
    has_changed: bool
    rollback: RollbackPanel | None


def build_cohort_page(*, cohort: Cohort, user: User | AnonymousUser, now: datetime) -> CohortPage:
    """The page as this person sees it. Reads only."""
    gate = evaluate_gate(cohort=cohort, now=now)
    members = get_member_rows(cohort)
    rows = _build_rows(cohort, members)
    signed_for_other = (
        cohort.evidence_hash and gate is not None and gate.evidence_hash != cohort.evidence_hash
    )
    return CohortPage(
        cohort=cohort,
        period_name=f"{Period.parse(cohort.dual_run_period).start_date:%B %Y}"
        if cohort.dual_run_period
        else "",
        steps=_build_steps(cohort),
        gate=gate,
        reconciled=gate.reconciled if gate else "",
        rows=rows,
        totals=_build_totals(members),
        gross=_build_gross(members),
        clean_count=sum(row.state == "clean" for row in rows),
        drifting_count=sum(row.state == "drift" for row in rows),
        riding_count=sum(row.state == "rides" for row in rows),
        signing=_build_signing(cohort, user),
        history=_build_history(cohort),
        plan_changes=_find_plan_changes(cohort),
        actions=_find_actions(cohort, user),
        has_changed=bool(signed_for_other) and cohort.state != CohortState.ROLLED_BACK,
        rollback=build_rollback_panel(cohort=cohort, user=user, now=now),
    )


def _build_history(cohort: Cohort) -> tuple[HistoryLine, ...]:
    entries = AuditEntry.objects.filter(subject_type="cohort", subject_id=str(cohort.pk))[:HISTORY_SHOWN]
    return tuple(
        HistoryLine(entry.at, HISTORY_LABELS.get(entry.action, entry.action), entry.actor, entry.reason)
        for entry in entries
    )


def _find_plan_changes(cohort: Cohort) -> tuple[SubscriptionChange, ...]:
    """The newest changes of its members' subscriptions that follow their plans."""
    changes = SubscriptionChange.objects.filter(account__cohort_members__cohort=cohort)
    return tuple(changes.select_related("account")[:PLAN_CHANGES_SHOWN])


def _find_actions(cohort: Cohort, user: User | AnonymousUser) -> tuple[str, ...]:
    others = ("change_seam",) if user.has_perm(SEAM_PERMISSION) else ()
    if cohort.state == CohortState.DRAFT and user.has_perm("cohorts.change_cohort"):
        others = ("change_members", *others)
    if CohortState.ROLLED_BACK in TRANSITIONS[CohortState(cohort.state)] and user.has_perm(
        ROLLBACK_PERMISSION
    ):
        others = (*others, "roll_back")
    if not user.has_perm("cohorts.run_cohort"):
        return others
    steps: dict[CohortState, tuple[str, ...]] = {
        CohortState.READY: ("start_dual_run",),
        CohortState.DUAL_RUN: ("reconcile", "open_gate"),
        CohortState.CLEAN: ("reconcile",),
    }
    return steps.get(CohortState(cohort.state), ()) + others


def _build_signing(cohort: Cohort, user: User | AnonymousUser) -> Signing:
    signatures = tuple(cohort.sign_offs.select_related("user"))
    valid = [
        sign for sign in signatures if sign.voided_at is None and sign.evidence_hash == cohort.evidence_hash
    ]
    has_signed = any(sign.user_id == user.pk for sign in valid)
    left = max(SIGNATURES_NEEDED - len(valid), 0)
    missing = []
    if cohort.state == CohortState.CLEAN:
        if left:
            missing.append(f"{left} more {'signature' if left == 1 else 'signatures'}")
        if all(sign.role != FINANCE_ROLE for sign in valid):
            missing.append("one from finance")
    return Signing(
        signatures=signatures,
        valid_count=len(valid),
        needed=SIGNATURES_NEEDED,
        missing=", ".join(missing),
        can_sign=cohort.state == CohortState.CLEAN
        and not has_signed
        and user.has_perm("cohorts.sign_off_cohort"),
        has_signed=has_signed,
    )


def _build_steps(cohort: Cohort) -> tuple[Step, ...]:
    reached = _find_reached(cohort)
    times = (cohort.created_at, cohort.ready_at, cohort.dual_run_at, cohort.clean_at, cohort.migrated_at)
    return tuple(
        Step(
            label=state.label,
            at=at if index <= reached else None,
            is_done=index < reached
            or (index == reached and cohort.state in (CohortState.MIGRATED, CohortState.ROLLED_BACK)),
            is_current=index == reached and cohort.state != CohortState.ROLLED_BACK,
        )
        for index, (state, at) in enumerate(zip(WAY, times, strict=True))
    )


def _find_reached(cohort: Cohort) -> int:
    """How far it is, or was when it was rolled back."""
    if cohort.state != CohortState.ROLLED_BACK:
        return WAY.index(CohortState(cohort.state))
    return WAY.index(CohortState(Rollback.objects.get(open_cohort=cohort).state_before))


def _format_figures(legacy_minor: int, stripe_minor: int, gross_minor: int, currency: str) -> Figures:
    return Figures(
        legacy=format_minor(legacy_minor, currency),
        stripe=format_minor(stripe_minor, currency),
        difference=format_minor(stripe_minor - legacy_minor, currency),
        is_apart=bool(gross_minor or stripe_minor - legacy_minor),
        currency=currency.upper(),
    )


def _build_totals(members: list[MemberRow]) -> tuple[Figures, ...]:
    """Both ledgers' sums per currency."""
    sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for member in members:
        for result in member.results:
            amounts = (result.legacy_minor, result.stripe_minor, result.gross_minor)
            sums[result.currency] = [
                total + amount for total, amount in zip(sums[result.currency], amounts, strict=True)
            ]
    return tuple(
        _format_figures(legacy, stripe, gross, currency)
        for currency, (legacy, stripe, gross) in sorted(sums.items())
    )


def _build_gross(members: list[MemberRow]) -> tuple[str, ...]:
    """Drift per currency, gross of sign, so that opposite errors can't cancel on the page."""
    gross: defaultdict[str, int] = defaultdict(int)
    for member in members:
        for result in member.results:
            gross[result.currency] += result.gross_minor
    apart = {currency: amount for currency, amount in gross.items() if amount}
    return tuple(format_minor(amount, currency) for currency, amount in sorted((apart or gross).items()))


def _build_rows(cohort: Cohort, members: list[MemberRow]) -> tuple[AccountRow, ...]:
    """Accounts that drift first, then by id."""
    drifts: defaultdict[int, list[Drift]] = defaultdict(list)
    ids = [member.account.pk for member in members]
    for drift in get_open_drifts(period=cohort.dual_run_period, payer_ids=ids):
        drifts[drift.account_id].append(drift)
    rows = [_build_row(member, tuple(drifts[member.account.pk])) for member in members]
    return tuple(sorted(rows, key=lambda row: (row.state != "drift", row.account_id)))


def _build_row(row: MemberRow, drifts: tuple[Drift, ...]) -> AccountRow:
    account = row.account
    payer = account.parent if bills_through_parent(account) else None
    if payer is not None:
        state = "rides"
    elif not row.results:
        state = "unchecked"
    else:
        state = "drift" if drifts or any(result.drift_count for result in row.results) else "clean"
    return AccountRow(
        account_id=account.pk,
        name=account.name,
        status=account.get_status_display(),
        provisioning=row.member.get_provisioning_display(),
        problem=row.member.provisioning_error,
        payer=str(payer or ""),
        state=state,
        figures=tuple(
            _format_figures(result.legacy_minor, result.stripe_minor, result.gross_minor, result.currency)
            for result in row.results
        ),
        drifts=drifts,
    )
