"""What an account owes for a month by its plan: a frozen value that rating, catalog and reconciliation share.

The rule is the old service's: the plan and the tiers in force on the first of the month hold for the whole month; an
account that starts within the month has those in force on its start day. Dates are half-open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from billing_worker.accounts.models import Account, AccountPlan, AccountTier
from billing_worker.accounts.states import AccountStatus
from billing_worker.core.periods import Period, to_utc
from billing_worker.core.rating import USAGE_TYPES, Tier, UsageType


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountTerms:
    """One account's terms for one period. Unit amounts are `Decimal` minor units of `currency`.

    `start_date` is the account's first day if it starts after the first of the period, else None (the whole month).
    `is_billable` is False before the account opened and after its closing day's month: then nothing is owed at all.
    `tiers` are the account's own; an account that bills through a parent is rated with the payer's.
    """

    account_id: int
    period: Period
    currency: str
    status: AccountStatus
    is_billable: bool
    start_date: date | None = None
    plan_name: str | None = None
    flat_unit_amount_decimal: Decimal | None = None
    tiers: Mapping[UsageType, tuple[Tier, ...]] = field(default_factory=dict)

    @property
    def is_suspended(self) -> bool:
        """A suspended account pays the flat fee and no usage."""
        return self.status == AccountStatus.SUSPENDED


def build_terms(
    account: Account, period: Period, *, plans: Iterable[AccountPlan], tiers: Iterable[AccountTier]
) -> AccountTerms:
    """Pick from an account's whole history what holds for the period. Rows of other accounts must not be given."""
    opened = to_utc(account.opened_at).date()
    status = AccountStatus(account.status)
    nothing = AccountTerms(
        account_id=account.pk, period=period, currency=account.currency, status=status, is_billable=False
    )
    if not _is_billable(account, status, opened, period):
        return nothing
    day = max(period.start_date, opened)
    plan = next((plan for plan in plans if _is_in_force(plan, day)), None)
    in_force = [tier for tier in tiers if _is_in_force(tier, day)]
    return replace(
        nothing,
        is_billable=True,
        start_date=opened if opened > period.start_date else None,
        plan_name=plan.plan_name if plan else None,
        flat_unit_amount_decimal=plan.unit_amount_decimal if plan else None,
        tiers={kind: table for kind in USAGE_TYPES if (table := _build_table(kind, in_force))},
    )


def _is_billable(account: Account, status: AccountStatus, opened: date, period: Period) -> bool:
    if opened >= period.end_date:
        return False
    if status != AccountStatus.CLOSED:
        return True
    return account.closed_at is not None and account.closed_at > period.start_at


def _is_in_force(row: AccountPlan | AccountTier, day: date) -> bool:
    return row.effective_from <= day and (row.effective_to is None or day < row.effective_to)


def _build_table(kind: UsageType, rows: Iterable[AccountTier]) -> tuple[Tier, ...]:
    ordered = sorted((row for row in rows if row.usage_type == kind), key=lambda row: row.tier_from)
    return tuple(Tier(row.tier_to, row.unit_amount_decimal) for row in ordered)
