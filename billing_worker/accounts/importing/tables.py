"""Dated rows as the old service keeps them: are their dates and tiers something that can be billed by?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Protocol, cast

from billing_worker.core.errors import InvalidInput
from billing_worker.core.money import get_exponent
from billing_worker.core.rating import USAGE_TYPES, Tier, validate_tiers
from billing_worker.legacy.models import LegacyPlanSub, LegacyPlanUsage


class _Dated(Protocol):
    effective_from: date
    effective_to: date | None


def to_unit_amount(rate: Decimal, currency: str) -> Decimal:
    """Dollars per 1,000 impressions to exact `Decimal` minor units per impression (2.50 usd -> 0.25 cents)."""
    return rate.scaleb(get_exponent(currency) - 3)


def find_fee_problems(fees: Sequence[LegacyPlanSub]) -> Iterator[str]:
    """What keeps the flat fees from being billed: dates that don't ascend or overlap, a negative rate."""
    for fee in fees:
        if fee.sub_rate < 0:
            yield f"plan row {fee.id}: sub_rate {fee.sub_rate} is negative"
    if problems := list(_find_date_problems(fees, "plan")):
        yield from problems
        return
    for day in _iter_change_days(fees):
        found = [fee.id for fee in fees if _is_in_force(fee, day)]
        if len(found) > 1:
            yield f"plan rows {', '.join(map(str, found))} overlap on {day}"
            return


def find_tier_problems(tiers: Sequence[LegacyPlanUsage]) -> Iterator[str]:
    """What keeps usage from being rated: unknown types, gaps, overlaps, a closed end, on any day of the history."""
    for tier in tiers:
        if tier.usage_type not in USAGE_TYPES:
            yield f"tier row {tier.id}: usage_type {tier.usage_type!r} is none of {', '.join(USAGE_TYPES)}"
    if problems := list(_find_date_problems(tiers, "tier")):
        yield from problems
        return
    for kind in USAGE_TYPES:
        rows = [tier for tier in tiers if tier.usage_type == kind]
        for day in _iter_change_days(rows):
            problem = _find_table_problem([row for row in rows if _is_in_force(row, day)])
            if problem:
                yield f"{kind} tiers in force on {day}: {problem}"
                break


def find_closing_date(rows: Iterable[_Dated]) -> date | None:
    """The first day on which nothing is in force any more; None if some row has no end, or there are no rows."""
    ends = [row.effective_to for row in rows]
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


def _find_date_problems(rows: Iterable[LegacyPlanSub | LegacyPlanUsage], noun: str) -> Iterator[str]:
    for row in rows:
        # MySQL's zero dates arrive as None, whatever the column promises.
        if cast(date | None, row.effective_from) is None:
            yield f"{noun} row {row.id}: effective_from is missing"
        elif row.effective_to is not None and row.effective_to <= row.effective_from:
            yield f"{noun} row {row.id}: effective_to {row.effective_to} is not after {row.effective_from}"


def _find_table_problem(rows: Sequence[LegacyPlanUsage]) -> str | None:
    expected: int | None = 0
    ordered = sorted(rows, key=lambda row: row.tier_from)
    for row in ordered:
        if row.tier_from != expected:
            return f"gap or overlap at {row.tier_from} (row {row.id}), expected {expected}"
        expected = row.tier_to
    try:
        if ordered:
            validate_tiers([Tier(row.tier_to, row.rate) for row in ordered])
    except InvalidInput as error:
        return str(error)
    return None


def _iter_change_days(rows: Sequence[_Dated]) -> Iterator[date]:
    days = {row.effective_from for row in rows}
    days |= {row.effective_to for row in rows if row.effective_to is not None}
    yield from sorted(days)


def _is_in_force(row: _Dated, day: date) -> bool:
    return row.effective_from <= day and (row.effective_to is None or day < row.effective_to)
