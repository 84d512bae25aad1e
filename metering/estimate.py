"""What a payer's month comes to by its plan and the usage held so far: the bill before Stripe makes it.

The same arithmetic as the expected ledger that reconciliation compares with, for one payer. Amounts are `int` minor
units of the payer's currency, before tax and discounts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import cast

from django.db.models import F, Max, Sum

from billing_worker.accounts.models import Account, ManagedJob
from billing_worker.accounts.selectors import (
    get_biller,
    get_billing_account,
    get_members,
    get_now_for,
    get_terms_for,
    select_jobs_due,
)
from billing_worker.accounts.states import Biller
from billing_worker.accounts.terms import AccountTerms
from billing_worker.catalog.sampled.charging import SampledCharges, charge_sampled_units, read_sampled_units
from billing_worker.core.expected import BilledAccount, ExactJob, ExpectedLine, compute_expected_lines
from billing_worker.core.periods import Period
from billing_worker.core.rating import USAGE_TYPES, UsageType
from billing_worker.mirror.models import StripeCreditNoteLine, StripeInvoiceLine
from billing_worker.mirror.states import InvoiceStatus
from metering.models import UsageRecord
from metering.states import Granularity

#: Stripe invoices that ask for money or had it.
BILLED_STATUSES = (InvoiceStatus.OPEN, InvoiceStatus.PAID, InvoiceStatus.UNCOLLECTIBLE)
#: Net usage per account, type and day; a monthly total stands on the month's first.
DailyUsage = Mapping[int, Mapping[UsageType, Mapping[date, int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierReached:
    """The family's usage has gone past a tier's bound. `reached_on` is None where a member is fed monthly."""

    usage_type: UsageType
    tier_index: int
    after_units: int
    reached_on: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A payer's month so far, and everything that its amounts follow from.

    `terms`, `usage` and the keys of `daily` are of the members, the payer first; `jobs` is by reference.
    `sampled_units` are whole units by member and event name, `sampled` what those that are billed cost together.
    `billed_minor` is what Stripe's finalized invoices ask for the month's service, less credit notes; None while there
    is no such line.
    `is_billed`: one of these invoices was made after the month, which is when usage and jobs are billed.
    `is_over` says that the month has ended where the payer's customer lives.
    """

    payer: Account
    members: tuple[Account, ...]
    period: Period
    currency: str
    biller: Biller
    is_over: bool
    terms: Mapping[int, AccountTerms]
    daily: DailyUsage
    usage: Mapping[int, Mapping[UsageType, int]]
    jobs: Mapping[str, ManagedJob]
    lines: tuple[ExpectedLine, ...]
    sampled: tuple[SampledCharges, ...]
    sampled_units: Mapping[tuple[int, str], int]
    tiers_reached: tuple[TierReached, ...]
    billed_minor: int | None
    is_billed: bool

    @property
    def total_minor(self) -> int:
        return sum(line.amount_minor for line in self.lines) + sum(one.amount_minor for one in self.sampled)


def estimate_bill(account: Account, *, period: Period, now: datetime) -> Estimate:
    """The month of whoever pays for the account. Reads only, in a number of queries that doesn't grow with usage.

    The flat fee counts whole (or prorated from the start day), usage as far as it is held, jobs once they are done.
    """
    payer = get_billing_account(account)
    members = get_members(payer)
    ids = [member.pk for member in members]
    terms = get_terms_for(period, account_ids=ids)
    daily, is_daily = _read_usage(ids, period)
    usage = {pk: {kind: sum(daily[pk][kind].values()) for kind in USAGE_TYPES} for pk in ids}
    jobs = list(select_jobs_due(period, account_ids=ids).order_by("pk"))
    described = [_describe(terms[pk], usage[pk], jobs) for pk in ids]
    lines = compute_expected_lines(
        period=period, payer=described[0], children=described[1:], tiers=terms[payer.pk].tiers
    )
    billed_minor, is_billed = _get_billed(payer, period)
    sampled_units = read_sampled_units(period, account_ids=ids)
    return Estimate(
        payer=payer,
        members=tuple(members),
        period=period,
        currency=payer.currency,
        biller=get_biller(payer.pk, period),
        is_over=get_now_for(payer, now) >= period.end_at,
        terms=terms,
        daily=daily,
        usage=usage,
        jobs={str(job.pk): job for job in jobs},
        lines=tuple(lines),
        sampled=_charge_sampled(sampled_units, terms, payer),
        sampled_units=sampled_units,
        tiers_reached=_find_tiers_reached(terms, payer.pk, daily, is_daily=is_daily),
        billed_minor=billed_minor,
        is_billed=is_billed,
    )


def _charge_sampled(
    units: Mapping[tuple[int, str], int], terms: Mapping[int, AccountTerms], payer: Account
) -> tuple[SampledCharges, ...]:
    """The family's units of each tier together, as Stripe adds them up."""
    totals: defaultdict[str, int] = defaultdict(int)
    for (account_id, event_name), count in units.items():
        totals[event_name] += count if counts_usage(terms, account_id, payer.pk) else 0
    currency = payer.currency.lower()
    return tuple(charge_sampled_units(totals, currencies=[currency])[currency])


def counts_usage(terms: Mapping[int, AccountTerms], account_id: int, payer_id: int) -> bool:
    """Whether a member's usage is billed: neither it nor the payer is suspended, and it is open in the month."""
    own = terms[account_id]
    return own.is_billable and not own.is_suspended and not terms[payer_id].is_suspended


def _describe(terms: AccountTerms, usage: Mapping[UsageType, int], jobs: list[ManagedJob]) -> BilledAccount:
    if not terms.is_billable:
        return BilledAccount(account_id=terms.account_id, is_suspended=terms.is_suspended)
    return BilledAccount(
        account_id=terms.account_id,
        is_suspended=terms.is_suspended,
        start_date=terms.start_date,
        flat_unit_amount_decimal=terms.flat_unit_amount_decimal,
        usage=usage,
        jobs=[ExactJob(str(job.pk), job.amount_minor) for job in jobs if job.account_id == terms.account_id],
    )


def _read_usage(
    account_ids: Collection[int], period: Period
) -> tuple[dict[int, dict[UsageType, dict[date, int]]], bool]:
    """Quantities in force per account, type and bucket, and whether all of them are known by the day."""
    rows = (
        UsageRecord.objects.filter(feed__account__in=account_ids, feed__period=str(period))
        .order_by("bucket_date")
        .values("bucket_date", "usage_type", account=F("feed__account"), fed=F("feed__granularity"))
        .annotate(total=Sum("delta"))
    )
    daily: dict[int, dict[UsageType, dict[date, int]]] = {
        pk: {kind: {} for kind in USAGE_TYPES} for pk in account_ids
    }
    is_daily = True
    for row in rows:
        series = daily[row["account"]][cast(UsageType, row["usage_type"])]
        series[row["bucket_date"]] = row["total"]
        is_daily = is_daily and row["fed"] == Granularity.DAY
    return daily, is_daily


def _find_tiers_reached(
    terms: Mapping[int, AccountTerms], payer_id: int, daily: DailyUsage, *, is_daily: bool
) -> tuple[TierReached, ...]:
    """Every bound that the family's month has gone past, and the first day whose running total does."""
    found = []
    for kind, tiers in terms[payer_id].tiers.items():
        by_day: defaultdict[date, int] = defaultdict(int)
        for account_id, series in daily.items():
            if counts_usage(terms, account_id, payer_id):
                for day, quantity in series[kind].items():
                    by_day[day] += quantity
        running, index = 0, 0
        for day in sorted(by_day):
            running += by_day[day]
            while (bound := tiers[index].up_to) is not None and running > bound:
                index += 1
                reached = TierReached(
                    usage_type=kind,
                    tier_index=index,
                    after_units=bound,
                    reached_on=day if is_daily else None,
                )
                found.append(reached)
    return tuple(found)


def _get_billed(payer: Account, period: Period) -> tuple[int | None, bool]:
    billed = StripeInvoiceLine.objects.filter(
        invoice__account=payer,
        invoice__status__in=BILLED_STATUSES,
        currency=payer.currency,
        period_start__gte=period.start_at,
        period_start__lt=period.end_at,
    ).aggregate(amount=Sum("amount_minor"), newest=Max("invoice__created_at"))
    amount = billed["amount"]
    if amount is not None:
        amount -= _get_credited(payer, period)
    return amount, billed["newest"] is not None and billed["newest"] >= period.end_at


def _get_credited(payer: Account, period: Period) -> int:
    """What credit notes take back of the month's lines."""
    credited: int | None = StripeCreditNoteLine.objects.filter(
        credit_note__account=payer,
        credit_note__status="issued",
        currency=payer.currency,
        period_start__gte=period.start_at,
        period_start__lt=period.end_at,
    ).aggregate(amount=Sum("amount_minor"))["amount"]
    return credited or 0
