"""The expected ledger: what every payer's month should hold, from our terms, given usage and imported jobs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from billing_worker.accounts.models import Account
from billing_worker.accounts.selectors import get_billing_account, get_terms_for, select_jobs_due
from billing_worker.accounts.terms import AccountTerms
from billing_worker.core.expected import BilledAccount, ExactJob, ExpectedLine, compute_expected_lines
from billing_worker.core.periods import Period
from billing_worker.core.rating import UsageType

Usage = Mapping[int, Mapping[UsageType, int]]


def compute_expected_ledger(
    period: Period, *, usage: Usage, payer_ids: Collection[int] | None = None
) -> dict[int, list[ExpectedLine]]:
    """The lines that each billing account should have for the period, by the billing account's id.

    `usage` holds the month's totals per account and type; accounts that are missing there have none. With `payer_ids`
    only those billing accounts. An account that owes nothing has an empty list. Amounts are minor units.
    """
    terms = get_terms_for(period)
    jobs = _get_jobs(period)
    families = _group_by_billing_account(terms)
    return {
        payer_id: _compute_family(period, payer_id, members, terms, usage, jobs)
        for payer_id, members in sorted(families.items())
        if payer_ids is None or payer_id in payer_ids
    }


def _compute_family(
    period: Period,
    payer_id: int,
    members: list[int],
    terms: Mapping[int, AccountTerms],
    usage: Usage,
    jobs: Mapping[int, list[ExactJob]],
) -> list[ExpectedLine]:
    def describe(account_id: int) -> BilledAccount:
        own = terms[account_id]
        if not own.is_billable:
            return BilledAccount(account_id=account_id, is_suspended=own.is_suspended)
        return BilledAccount(
            account_id=account_id,
            is_suspended=own.is_suspended,
            start_date=own.start_date,
            flat_unit_amount_decimal=own.flat_unit_amount_decimal,
            usage=usage.get(account_id, {}),
            jobs=jobs.get(account_id, ()),
        )

    return compute_expected_lines(
        period=period,
        payer=describe(payer_id),
        children=[describe(account_id) for account_id in members if account_id != payer_id],
        tiers=terms[payer_id].tiers,
    )


def _group_by_billing_account(terms: Mapping[int, AccountTerms]) -> dict[int, list[int]]:
    accounts = {account.pk: account for account in Account.objects.filter(pk__in=terms)}
    for account in accounts.values():
        if account.parent_id is not None:
            account.parent = accounts[account.parent_id]
    families: defaultdict[int, list[int]] = defaultdict(list)
    for account in accounts.values():
        families[get_billing_account(account).pk].append(account.pk)
    return families


def _get_jobs(period: Period) -> dict[int, list[ExactJob]]:
    jobs: defaultdict[int, list[ExactJob]] = defaultdict(list)
    for job in select_jobs_due(period).order_by("pk"):
        jobs[job.account_id].append(ExactJob(str(job.pk), job.amount_minor))
    return jobs
