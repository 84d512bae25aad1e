"""The old service's rules of billing for one calendar month in UTC: pure functions over plain values.

Deliberately independent of the billing worker's own implementation: the two are compared to the cent.

- The plan and the tiers in force on the first of the month hold for the whole month; an account that starts within the
  month is billed by those in force on its first day, its flat fee times days left / days in the month.
- Usage of the whole month goes through the graduated tiers once. Rates are per 1,000 impressions (CPM).
- A child without a Stripe customer of its own bills through its parent: its usage is added to the parent's before the
  tiers, its flat fee and its managed jobs are lines of their own on the parent's invoice.
- A suspended account pays the flat fee and no usage; a closed one pays nothing after its closing day's month.
- Managed jobs that were done in the month and not billed yet are billed with their exact amount.
- Each line is rounded half up to the currency's minor unit; the total is the sum of the rounded lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal

from sandbox.legacy.errors import LegacyDataError
from sandbox.legacy.months import Month

USAGE_TYPES = ("ST", "RM", "CV")
CENT = Decimal("0.01")
PER_MILLE = Decimal(1000)
MINOR_DIGITS = {"USD": 2, "EUR": 2, "GBP": 2, "JPY": 0}


@dataclass(frozen=True)
class FlatFee:
    """A monthly fee in force on the half-open days [effective_from, effective_to)."""

    plan_name: str
    rate: Decimal
    effective_from: date
    effective_to: date | None = None


@dataclass(frozen=True)
class Tier:
    """One step of a graduated table: impressions number tier_from + 1 to tier_to at `rate` per 1,000."""

    usage_type: str
    tier_from: int
    tier_to: int | None
    rate: Decimal
    effective_from: date
    effective_to: date | None = None


@dataclass(frozen=True)
class Job:
    """A piece of managed service with an exact price; `completed_at` is naive UTC, None while open."""

    job_id: int
    title: str
    amount: Decimal
    status: str
    completed_at: datetime | None = None


@dataclass(frozen=True)
class Account:
    """All that the rules need to know of an account for one month; `usage` is the month's total per type."""

    acct_id: int
    name: str
    currency: str
    created_on: date
    status: str = "active"
    parent_acct_id: int | None = None
    stripe_customer_id: str | None = None
    fees: tuple[FlatFee, ...] = ()
    tiers: tuple[Tier, ...] = ()
    jobs: tuple[Job, ...] = ()
    usage: Mapping[str, int] = field(default_factory=dict)

    @property
    def bills_through_parent(self) -> bool:
        """A child without a Stripe customer of its own has no invoices of its own."""
        return self.parent_acct_id is not None and self.stripe_customer_id is None


@dataclass(frozen=True)
class Line:
    """An invoice line. `unit_rate` is per 1,000 for usage, else the full price; `amount` is rounded."""

    kind: str
    description: str
    quantity: int
    unit_rate: Decimal
    amount: Decimal
    job_id: int | None = None


def round_amount(amount: Decimal, currency: str) -> Decimal:
    """Round half up (away from zero) to the currency's minor unit; the answer always carries two decimals."""
    return amount.quantize(Decimal(1).scaleb(-minor_digits(currency)), ROUND_HALF_UP).quantize(CENT)


def minor_digits(currency: str) -> int:
    """Decimal places of the currency. Raises: LegacyDataError for one the old service never billed."""
    if currency not in MINOR_DIGITS:
        raise LegacyDataError(
            f"currency {currency!r} is none of {', '.join(MINOR_DIGITS)}: correct the account"
        )
    return MINOR_DIGITS[currency]


def to_minor(amount: Decimal, currency: str) -> int:
    """An amount in the currency's minor units. Raises: LegacyDataError if it is finer than the minor unit."""
    minor = amount.scaleb(minor_digits(currency))
    if minor != minor.to_integral_value():
        raise LegacyDataError(f"{amount} {currency} is not a whole number of minor units")
    return int(minor)


def compute_tier_lines(tiers: Sequence[Tier], quantity: int, currency: str) -> list[Line]:
    """Run one type's monthly quantity through its table: a line per tier used, a free tier's line at 0.00.

    `tiers` is one table in ascending order without gaps; a quantity on a bound stays below it; zero gives no line.
    """
    lines = []
    for tier in tiers:
        top = quantity if tier.tier_to is None else min(quantity, tier.tier_to)
        used = top - tier.tier_from
        if used <= 0:
            break
        amount = round_amount(used * tier.rate / PER_MILLE, currency)
        lines.append(Line(tier.usage_type, describe_tier(tier), used, tier.rate, amount))
    return lines


def describe_tier(tier: Tier) -> str:
    """For example `ST impressions 1,000,001 to 5,000,000`."""
    if tier.tier_to is None:
        return f"{tier.usage_type} impressions above {tier.tier_from:,}"
    return f"{tier.usage_type} impressions {tier.tier_from + 1:,} to {tier.tier_to:,}"


def compute_invoice_lines(payer: Account, children: Iterable[Account], month: Month) -> list[Line]:
    """The lines of a payer's invoice for the month: fees, then usage by type and tier, then managed jobs.

    `children` are the accounts that bill through the payer. No lines means no invoice.
    Raises: LegacyDataError if the data contradict each other (see the message).
    """
    members = [payer, *sorted(children, key=lambda child: child.acct_id)]
    _check_members(members)
    billable = [member for member in members if is_billable(member, month)]
    lines = [line for member in billable for line in _fee_lines(member, payer, month)]
    if payer in billable and payer.status != "suspended":
        lines += _usage_lines(payer, billable, month)
    lines += [line for member in billable for line in _job_lines(member, payer, month)]
    return lines


def is_billable(account: Account, month: Month) -> bool:
    """Whether the account exists in the month: started before its end and not closed before its beginning."""
    if account.created_on >= month.next_first:
        return False
    if account.status != "closed":
        return True
    closing_day = closing_date(account)
    return closing_day is not None and closing_day > month.first


def closing_date(account: Account) -> date | None:
    """The day from which no plan of a closed account is in force; None if a plan has no end."""
    ends = [fee.effective_to for fee in account.fees] + [tier.effective_to for tier in account.tiers]
    known = [end for end in ends if end is not None]
    return max(known) if ends and len(known) == len(ends) else None


def plan_date(account: Account, month: Month) -> date:
    """The day whose plan holds for the month: the first, or the start day of an account that starts within it."""
    return max(month.first, account.created_on)


def find_fee(account: Account, month: Month) -> FlatFee | None:
    """The flat fee in force for the month. Raises: LegacyDataError if two are."""
    day = plan_date(account, month)
    found = [fee for fee in account.fees if _in_force(fee, day)]
    if len(found) > 1:
        raise LegacyDataError(
            f"account {account.acct_id} has {len(found)} flat fees in force on {day}: keep one"
        )
    return found[0] if found else None


def find_tiers(account: Account, usage_type: str, month: Month) -> list[Tier]:
    """The type's table in force for the month, ascending. Raises: LegacyDataError if it has a gap or an overlap."""
    day = plan_date(account, month)
    tiers = sorted(
        (tier for tier in account.tiers if tier.usage_type == usage_type and _in_force(tier, day)),
        key=lambda tier: tier.tier_from,
    )
    expected: int | None = 0
    for tier in tiers:
        if tier.tier_from != expected or (tier.tier_to is not None and tier.tier_to <= tier.tier_from):
            raise LegacyDataError(
                f"account {account.acct_id}: the {usage_type} tiers in force on {day} leave a gap or overlap"
                f" at {tier.tier_from}"
            )
        expected = tier.tier_to
    if tiers and expected is not None:
        raise LegacyDataError(
            f"account {account.acct_id}: the {usage_type} tiers in force on {day} end at {expected}"
        )
    return tiers


def job_line(job: Job, member: Account, payer: Account) -> Line:
    """The line that bills a managed job with its exact amount."""
    text = f"Managed service job {job.job_id}: {job.title}{_on_behalf(member, payer)}"
    amount = round_amount(job.amount, payer.currency)
    if amount != job.amount:
        raise LegacyDataError(f"job {job.job_id}: {job.amount} is not an amount of {payer.currency}")
    return Line("managed", text, 1, job.amount, amount, job.job_id)


def _check_members(members: Sequence[Account]) -> None:
    payer = members[0]
    for child in members[1:]:
        if child.currency != payer.currency:
            raise LegacyDataError(
                f"account {child.acct_id} is in {child.currency} but bills through {payer.acct_id} in"
                f" {payer.currency}: give it a Stripe customer of its own or the parent's currency"
            )
        if payer.status == "closed" and child.status != "closed":
            raise LegacyDataError(
                f"account {child.acct_id} bills through {payer.acct_id}, which is closed: give it another parent"
            )


def _in_force(row: FlatFee | Tier, day: date) -> bool:
    return row.effective_from <= day and (row.effective_to is None or day < row.effective_to)


def _on_behalf(member: Account, payer: Account) -> str:
    return "" if member.acct_id == payer.acct_id else f" (for {member.name}, account {member.acct_id})"


def _fee_lines(member: Account, payer: Account, month: Month) -> Iterator[Line]:
    fee = find_fee(member, month)
    if fee is None:
        return
    days_left = (month.next_first - plan_date(member, month)).days
    amount = round_amount(fee.rate * days_left / month.day_count, payer.currency)
    part = "" if days_left == month.day_count else f", {days_left} of {month.day_count} days"
    yield Line("sub", f"{fee.plan_name}, {month.label}{part}{_on_behalf(member, payer)}", 1, fee.rate, amount)


def _usage_lines(payer: Account, billable: Sequence[Account], month: Month) -> Iterator[Line]:
    users = [member for member in billable if member.status != "suspended"]
    for usage_type in USAGE_TYPES:
        quantity = sum(member.usage.get(usage_type, 0) for member in users)
        yield from compute_tier_lines(find_tiers(payer, usage_type, month), quantity, payer.currency)


def _job_lines(member: Account, payer: Account, month: Month) -> Iterator[Line]:
    for job in sorted(member.jobs, key=lambda job: job.job_id):
        done = job.status == "done" and job.completed_at is not None
        if done and job.completed_at is not None and month.holds(job.completed_at.date()):
            yield job_line(job, member, payer)
