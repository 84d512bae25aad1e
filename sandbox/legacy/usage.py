"""Invented impressions per account, month and day, and their export as daily usage records."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import date

from sandbox.legacy.database import Database, Row
from sandbox.legacy.errors import LegacyError
from sandbox.legacy.months import Month
from sandbox.legacy.schema import IMPRESSIONS
from sandbox.legacy.specs import AccountSpec
from sandbox.legacy.stream import Stream

EXPORT_FIELDS = ("account_id", "period", "usage_type", "quantity")


def make_month_usage(spec: AccountSpec, month: Month, period: Month, seed: int) -> dict[str, int]:
    """The account's impressions of the month per type; types without any are left out.

    In the period itself an account's `exact` totals hold; other months vary by up to a fifth around its volumes.
    """
    days = active_days(spec, month)
    if not days:
        return {}
    if month == period and spec.exact:
        return {usage_type: quantity for usage_type, quantity in spec.exact.items() if quantity}
    usage = {}
    for usage_type, volume in spec.volumes.items():
        stream = Stream(seed, "usage", spec.acct_id, month, usage_type)
        quantity = volume * stream.between(800_000, 1_200_000) * len(days) // (1_000_000 * month.day_count)
        if quantity:
            usage[usage_type] = quantity
    return usage


def active_days(spec: AccountSpec, month: Month) -> list[date]:
    """The days of the month on which the account existed and was not closed; a suspended one still has traffic."""
    return [
        day
        for day in month.days
        if day >= spec.created_on and (spec.closed_on is None or day < spec.closed_on)
    ]


def make_daily_rows(spec: AccountSpec, month: Month, usage: dict[str, int], seed: int) -> Iterator[Row]:
    """The month's totals spread over its days, weekends weaker; the days sum to the totals exactly."""
    days = active_days(spec, month)
    for usage_type in (*usage, *(kind for kind in spec.zero_rows if kind not in usage)):
        stream = Stream(seed, "days", spec.acct_id, month, usage_type)
        weights = [stream.between(85, 115) * (6 if day.weekday() >= 5 else 10) for day in days]
        for day, quantity in zip(days, split_total(usage.get(usage_type, 0), weights), strict=True):
            yield {"acct_id": spec.acct_id, "day": day, "usage_type": usage_type, "impressions": quantity}


def split_total(total: int, weights: list[int]) -> list[int]:
    """Split a total in proportion to the weights into whole numbers that sum to it."""
    whole, parts, given, reached = sum(weights), [], 0, 0
    for weight in weights:
        reached += weight
        share = total * reached // whole - given
        given += share
        parts.append(share)
    return parts


def read_daily_usage(database: Database, month: Month) -> list[dict[str, object]]:
    """The month's usage records in the order of day, account and type, one per loaded row.

    Raises: LegacyError if nothing is loaded for the month.
    """
    rows = database.rows(IMPRESSIONS, "day >= ? AND day < ?", (month.first, month.next_first))
    if not rows:
        raise LegacyError(f"no impressions are loaded for {month}: generate with --period {month}")
    rows.sort(key=lambda row: (row["day"], row["acct_id"], row["usage_type"]))
    return [
        {
            "account_id": row["acct_id"],
            "period": row["day"].isoformat(),
            "usage_type": row["usage_type"],
            "quantity": row["impressions"],
        }
        for row in rows
    ]


def format_usage(records: list[dict[str, object]], form: str) -> str:
    """The records as `jsonl` (one object a line) or `csv` (with a header)."""
    out = io.StringIO()
    if form == "csv":
        writer = csv.DictWriter(out, EXPORT_FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    else:
        out.writelines(json.dumps(record) + "\n" for record in records)
    return out.getvalue()
