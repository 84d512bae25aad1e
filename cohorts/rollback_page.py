"""What the console shows of a rollback: before it, on a page of its own, and while it stands, on the cohort's page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django import forms

from billing_worker.core.periods import Period
from cohorts.models import Cohort, Rollback, RollbackStep
from cohorts.rolling_back import RollbackPlan, list_remaining
from cohorts.services.rollback import MAX_REASON, find_begun
from cohorts.states import RollbackState, StepState

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

PERMISSION: Final = "cohorts.roll_back_cohort"
#: Months that the page offers, from the earliest on. The command takes any within a year.
MONTHS_OFFERED: Final = 3


@dataclass(frozen=True, slots=True)
class StepRow:
    """One payer's part. `tone` is the badge's colour."""

    step: RollbackStep
    riding: int
    month: str
    tone: str


@dataclass(frozen=True, slots=True)
class RollbackPanel:
    """A rollback that stands, or is being withdrawn, with what is left of it."""

    rollback: Rollback
    month: str
    rows: tuple[StepRow, ...]
    settled_count: int
    remaining: tuple[str, ...]
    can_withdraw: bool
    can_retry: bool


class ReasonForm(forms.Form):
    """Why, for a rollback or for its withdrawal."""

    reason = forms.CharField(
        label="Why",
        max_length=MAX_REASON,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Kept with the rollback and in the audit trail; everybody who is alerted reads it.",
    )


class MembersForm(forms.Form):
    """Who joins a draft and who leaves it."""

    add = forms.CharField(
        label="Add accounts",
        required=False,
        max_length=8000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Their ids, separated by commas or spaces. Who shares an invoice with them joins too.",
    )
    remove = forms.CharField(
        label="Take accounts out",
        required=False,
        max_length=8000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Their ids. Who shares an invoice with them leaves too.",
    )
    reason = forms.CharField(
        label="Why", required=False, max_length=MAX_REASON, help_text="Kept in the audit trail."
    )

    def clean(self) -> dict[str, Any]:
        found = super().clean() or self.cleaned_data
        if not found.get("add", "").strip() and not found.get("remove", "").strip():
            raise forms.ValidationError("Nothing to change: name accounts to add, or to take out.")
        return found


def name_month(period: Period | str) -> str:
    """`December 2026`."""
    month = period if isinstance(period, Period) else Period.parse(period)
    return f"{month.start_date:%B %Y}"


def list_offered_months(plan: RollbackPlan) -> list[tuple[str, str, bool]]:
    """The months to choose from as (value, name, is the one shown)."""
    months = [plan.earliest]
    while len(months) < MONTHS_OFFERED:
        months.append(months[-1].next())
    return [(str(month), name_month(month), month == plan.period) for month in months]


def build_rollback_panel(
    *, cohort: Cohort, user: User | AnonymousUser, now: datetime
) -> RollbackPanel | None:
    """The rollback in force, as this person sees it; None if there is none. Reads only."""
    rollback = Rollback.objects.filter(open_cohort=cohort).first()
    if rollback is None:
        return None
    steps = rollback.steps.select_related("payer").order_by("payer_id")
    rows = tuple(_build_row(step) for step in steps)
    may = user.has_perm(PERMISSION)
    is_standing = rollback.state in (RollbackState.RUNNING, RollbackState.DONE)
    settled = sum(row.step.settled_at is not None for row in rows)
    return RollbackPanel(
        rollback=rollback,
        month=name_month(rollback.from_period),
        rows=rows,
        settled_count=settled,
        remaining=tuple(list_remaining(rollback)),
        can_withdraw=may and is_standing and not find_begun(rollback, now=now),
        can_retry=may and settled < len(rows),
    )


def _build_row(step: RollbackStep) -> StepRow:
    tone = "drift" if step.error else "ok" if step.state in (StepState.DONE, StepState.LIFTED) else "warning"
    return StepRow(step=step, riding=len(step.account_ids) - 1, month=name_month(step.period), tone=tone)
