"""Reads about cohorts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from billing_worker.accounts.models import Account
from billing_worker.core.errors import NotFound
from cohorts.models import Cohort, CohortMember
from reconciliation.models import AccountResult
from reconciliation.selectors import get_period_evidence


class UnknownCohort(NotFound):
    """No cohort has this name. `create_cohort` forms one."""

    code = "unknown_cohort"


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One member as the cohort page shows it, with the newest reconciliation's results for it, one per currency."""

    member: CohortMember
    account: Account
    results: tuple[AccountResult, ...]


def get_cohort(name: str) -> Cohort:
    """Raises UnknownCohort with the names that exist."""
    cohort = Cohort.objects.filter(name=name).first()
    if cohort is None:
        known = ", ".join(Cohort.objects.values_list("name", flat=True)) or "none yet"
        raise UnknownCohort(f"there is no cohort {name!r}; known: {known}")
    return cohort


def get_payers(cohort: Cohort) -> list[Account]:
    """The members that are billed themselves, by id; the others ride on their payer's subscription."""
    members = (
        Account.objects.filter(cohort_members__cohort=cohort).select_related("test_clock").order_by("pk")
    )
    return [account for account in members if not bills_through_parent(account)]


def bills_through_parent(account: Account) -> bool:
    """Whether the account's lines are on its parent's invoice."""
    return account.parent_id is not None and account.stripe_customer_id is None


def get_member_rows(cohort: Cohort) -> list[MemberRow]:
    """Every member, by account id, with its newest results for the dual-run period."""
    members = list(cohort.members.select_related("account__parent").order_by("account_id"))
    evidence = get_period_evidence(
        period=cohort.dual_run_period, scope=cohort.name, payer_ids=[member.account_id for member in members]
    )
    results: defaultdict[int, list[AccountResult]] = defaultdict(list)
    for result in evidence.results if evidence else ():
        results[result.account_id].append(result)
    return [MemberRow(member, member.account, tuple(results[member.account_id])) for member in members]
