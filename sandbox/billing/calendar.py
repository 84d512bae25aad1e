"""Billing periods: the instants at which a billing cycle turns, counted from its anchor.

All times are epoch seconds in UTC and every period is half-open, `[start, end)`. Month and year cycles keep the
anchor's day of the month and fall back to the month's last day (31 January -> 28 February -> 31 March), as
https://docs.stripe.com/billing/subscriptions/billing-cycle describes.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime

DAY = 86_400
WEEK = 7 * DAY
FIXED_SECONDS = {"day": DAY, "week": WEEK}
MONTHS = {"month": 1, "year": 12}


def boundary(anchor: int, interval: str, interval_count: int, n: int) -> int:
    """The `n`-th turn of the cycle; `n` = 0 is the anchor itself and negative turns lie before it."""
    if interval in FIXED_SECONDS:
        return anchor + n * interval_count * FIXED_SECONDS[interval]
    moment = datetime.fromtimestamp(anchor, UTC)
    month_index = moment.year * 12 + moment.month - 1 + n * interval_count * MONTHS[interval]
    year, month = divmod(month_index, 12)
    day = min(moment.day, monthrange(year, month + 1)[1])
    return int(moment.replace(year=year, month=month + 1, day=day).timestamp())


def _turn_at_or_before(anchor: int, interval: str, interval_count: int, at: int) -> int:
    """The greatest `n` whose turn is not after `at`."""
    if interval in FIXED_SECONDS:
        return (at - anchor) // (interval_count * FIXED_SECONDS[interval])
    first, moment = datetime.fromtimestamp(anchor, UTC), datetime.fromtimestamp(at, UTC)
    months = (moment.year - first.year) * 12 + moment.month - first.month
    n = months // (interval_count * MONTHS[interval]) + 1
    while boundary(anchor, interval, interval_count, n) > at:
        n -= 1
    return n


def period_containing(anchor: int, interval: str, interval_count: int, at: int) -> tuple[int, int]:
    """The cycle's period `[start, end)` that holds `at`; `at` may lie before the anchor."""
    n = _turn_at_or_before(anchor, interval, interval_count, at)
    return boundary(anchor, interval, interval_count, n), boundary(anchor, interval, interval_count, n + 1)


def next_boundary(anchor: int, interval: str, interval_count: int, after: int) -> int:
    """The first turn of the cycle strictly after `after`."""
    return period_containing(anchor, interval, interval_count, after)[1]


def day_text(at: int) -> str:
    """A day as Stripe writes it in line descriptions, for example `01 Nov 2026`."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment.day:02d} {moment:%b %Y}"
