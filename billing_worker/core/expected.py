"""The invoice lines that a payer's month should have, from its terms, its usage and its jobs.

This is one of the ledgers that reconciliation compares: what the plan says, independent of what anyone billed.
Amounts are `int` minor units of the payer's currency, unit amounts `Decimal` minor units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from billing_worker.core.periods import Period
from billing_worker.core.rating import USAGE_TYPES, LineKind, Tier, UsageType, prorate_flat, rate_graduated


@dataclass(frozen=True, slots=True)
class ExactJob:
    """A managed-service job and its exact amount in minor units."""

    reference: str
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledAccount:
    """One account's share of a month. `start_date` is its first day if it starts after the period's first.

    `usage` is the month's total per type, as measured; a suspended account's is kept here and not billed.
    """

    account_id: int
    is_suspended: bool = False
    start_date: date | None = None
    flat_unit_amount_decimal: Decimal | None = None
    usage: Mapping[UsageType, int] = field(default_factory=dict)
    jobs: Sequence[ExactJob] = ()


@dataclass(frozen=True, slots=True)
class ExpectedLine:
    """A line that the payer's invoices for the period should have. `account_id` is whose consumption it is.

    Usage lines belong to the payer, whose tiers price the family's usage together; `reference` names a managed job.
    """

    kind: LineKind
    account_id: int
    quantity: int
    unit_amount_decimal: Decimal
    amount_minor: int
    tier_index: int | None = None
    reference: str = ""


def compute_expected_lines(
    *,
    period: Period,
    payer: BilledAccount,
    children: Sequence[BilledAccount] = (),
    tiers: Mapping[UsageType, Sequence[Tier]],
) -> list[ExpectedLine]:
    """Flat fees first, then usage by type and tier, then managed jobs; each line rounded half up once.

    `children` are those that bill through the payer: their usage is added to the payer's before its `tiers`, their flat
    fee and jobs are lines of their own. A suspended account adds no usage; under a suspended payer nobody does. A usage
    type without tiers is not charged. Leave out accounts that are not billable in the period.
    """
    members = [payer, *sorted(children, key=lambda child: child.account_id)]
    lines = [line for member in members for line in _compute_flat_line(member, period)]
    if not payer.is_suspended:
        lines += _compute_usage_lines(payer.account_id, members, tiers)
    lines += [
        ExpectedLine(
            "managed", member.account_id, 1, Decimal(job.amount_minor), job.amount_minor, None, job.reference
        )
        for member in members
        for job in member.jobs
    ]
    return lines


def _compute_flat_line(member: BilledAccount, period: Period) -> Iterator[ExpectedLine]:
    rate = member.flat_unit_amount_decimal
    if rate is None:
        return
    amount = prorate_flat(rate, period=period, start_date=member.start_date or period.start_date)
    yield ExpectedLine("sub", member.account_id, 1, rate, amount)


def _compute_usage_lines(
    payer_id: int, members: Sequence[BilledAccount], tiers: Mapping[UsageType, Sequence[Tier]]
) -> Iterator[ExpectedLine]:
    for kind in USAGE_TYPES:
        if not tiers.get(kind):
            continue
        quantity = sum(member.usage.get(kind, 0) for member in members if not member.is_suspended)
        for charge in rate_graduated(quantity, tiers[kind]):
            yield ExpectedLine(
                kind,
                payer_id,
                charge.quantity,
                charge.unit_amount_decimal,
                charge.amount_minor,
                charge.tier_index,
            )
