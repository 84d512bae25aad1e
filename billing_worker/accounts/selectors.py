"""Reads about accounts: who pays, on what terms, billed by whom, in whose time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import TypeVar

from django.db.models import QuerySet

from billing_worker.accounts.models import Account, AccountPlan, AccountTier, BillingLease, ManagedJob
from billing_worker.accounts.states import Biller, JobStatus
from billing_worker.accounts.terms import AccountTerms as AccountTerms
from billing_worker.accounts.terms import build_terms
from billing_worker.core.errors import NotFound
from billing_worker.core.periods import Period

Row = TypeVar("Row", AccountPlan, AccountTier)


class UnknownAccount(NotFound):
    """No account has this id: import it first (`import_accounts`), or correct the id."""

    code = "unknown_account"


def get_account(account_id: int) -> Account:
    """The account, with its parent and test clock loaded.

    Raises:
        UnknownAccount: nothing was imported under this id.
    """
    try:
        return Account.objects.select_related("parent__test_clock", "test_clock").get(pk=account_id)
    except Account.DoesNotExist:
        raise UnknownAccount(f"there is no account {account_id}: import it, or correct the id") from None


def get_account_by_customer(customer_id: str) -> Account | None:
    """The account that owns this Stripe customer, or None for a customer that is not ours."""
    return Account.objects.filter(stripe_customer_id=customer_id).first()


def find_account_id(customer_id: str) -> int | None:
    """The key of the account that owns this Stripe customer, or None."""
    owners = Account.objects.filter(stripe_customer_id=customer_id)
    return next(iter(owners.values_list("pk", flat=True)[:1]), None)


def get_billing_account(account: Account) -> Account:
    """Whose invoice the account's lines are on: itself, or the nearest ancestor it bills through.

    An account bills through its parent if and only if it has a parent and no Stripe customer of its own. The answer
    may have no customer yet (before provisioning).
    """
    seen = {account.pk}
    while account.stripe_customer_id is None and account.parent is not None and account.parent_id not in seen:
        account = account.parent
        seen.add(account.pk)
    return account


def get_payer(account: Account) -> Account | None:
    """The account whose Stripe customer pays, or None while there is no such customer yet."""
    payer = get_billing_account(account)
    return payer if payer.stripe_customer_id else None


def get_members(payer: Account) -> list[Account]:
    """The accounts billed on the payer's invoice: itself first, then those that bill through it, by id."""
    members, layer = [payer], [payer]
    while layer:
        parents = [account.pk for account in layer]
        layer = list(
            Account.objects.filter(parent__in=parents, stripe_customer_id__isnull=True)
            .exclude(pk__in=[member.pk for member in members])
            .order_by("pk")
        )
        members += layer
    return [payer, *sorted(members[1:], key=lambda member: member.pk)]


def get_families(payer_ids: Collection[int]) -> dict[int, list[int]]:
    """`get_members` for many payers, as ids: one query for each level of children. Every id given is in the answer."""
    families = {payer_id: [payer_id] for payer_id in payer_ids}
    owners = {payer_id: payer_id for payer_id in payer_ids}
    layer = set(owners)
    while layer:
        children = Account.objects.filter(parent__in=layer, stripe_customer_id__isnull=True)
        found = {
            pk: parent_id for pk, parent_id in children.values_list("pk", "parent_id") if pk not in owners
        }
        for pk, parent_id in sorted(found.items()):
            owners[pk] = owners[parent_id]
            families[owners[pk]].append(pk)
        layer = set(found)
    return families


def get_terms(account_id: int, period: Period) -> AccountTerms:
    """What the account's plan says for the period (see `AccountTerms`).

    Raises:
        UnknownAccount: no such account.
    """
    account = get_account(account_id)
    return build_terms(account, period, plans=account.plans.all(), tiers=account.tiers.all())


def get_terms_for(period: Period, *, account_ids: Collection[int] | None = None) -> dict[int, AccountTerms]:
    """The terms of many accounts (default: all) in three queries, by account id."""
    accounts: QuerySet[Account] = Account.objects.all()
    plans: QuerySet[AccountPlan] = AccountPlan.objects.all()
    tiers: QuerySet[AccountTier] = AccountTier.objects.all()
    if account_ids is not None:
        accounts = accounts.filter(pk__in=account_ids)
        plans = plans.filter(account__in=account_ids)
        tiers = tiers.filter(account__in=account_ids)
    plans_of = _group_by_account(plans)
    tiers_of = _group_by_account(tiers)
    return {
        account.pk: build_terms(account, period, plans=plans_of[account.pk], tiers=tiers_of[account.pk])
        for account in accounts
    }


def get_fee_terms(period: Period, *, accounts: Collection[Account]) -> dict[int, AccountTerms]:
    """The terms of accounts that are loaded already, without their tiers: one query, by account id."""
    plans_of = _group_by_account(AccountPlan.objects.filter(account__in=accounts))
    return {
        account.pk: build_terms(account, period, plans=plans_of[account.pk], tiers=()) for account in accounts
    }


def get_biller(account_id: int, period: Period) -> Biller:
    """Which side bills the account for the period. No lease row means the old service still does."""
    lease = BillingLease.objects.filter(account_id=account_id, period=str(period)).first()
    return Biller(lease.biller) if lease else Biller.LEGACY


def get_billers(period: Period, *, account_ids: Collection[int]) -> dict[int, Biller]:
    """`get_biller` for many accounts in one query; every id given is in the answer."""
    leases = BillingLease.objects.filter(period=str(period), account__in=account_ids)
    found = {lease.account_id: Biller(lease.biller) for lease in leases}
    return {account_id: found.get(account_id, Biller.LEGACY) for account_id in account_ids}


def get_handed_back(period: Period, *, account_ids: Collection[int]) -> set[int]:
    """Those of the accounts whose lease for the period is a row that says legacy: it was taken from Stripe."""
    rows = BillingLease.objects.filter(period=str(period), biller=Biller.LEGACY)
    return set(rows.values_list("account_id", flat=True)) & set(account_ids)


def get_leased_payer_ids(period: Period) -> list[int]:
    """The payers with a lease for the period, in order: those that Stripe bills, and those that were handed back."""
    leased = Account.objects.filter(leases__period=str(period))
    return list(leased.filter(stripe_customer_id__isnull=False).order_by("pk").values_list("pk", flat=True))


def get_now_for(account: Account, now: datetime) -> datetime:
    """The present instant where the account's customer lives: its payer's test clock if on one, else `now`."""
    clock = account.test_clock or get_billing_account(account).test_clock
    return clock.frozen_at if clock else now


def select_jobs_due(period: Period, *, account_ids: Collection[int] | None = None) -> QuerySet[ManagedJob]:
    """Managed jobs that the old service's rule bills for the period: done, completed in it (UTC), not yet billed."""
    jobs = ManagedJob.objects.filter(
        status=JobStatus.DONE, completed_at__gte=period.start_at, completed_at__lt=period.end_at
    )
    return jobs if account_ids is None else jobs.filter(account__in=account_ids)


def _group_by_account(rows: Iterable[Row]) -> defaultdict[int, list[Row]]:
    grouped: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row.account_id].append(row)
    return grouped
