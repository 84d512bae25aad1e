"""Buckets: the stretches of time (UTC) that one meter event stands for, how they are named and when they are closed."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from billing_worker.core.periods import Period
from metering.states import Granularity


def format_bucket(bucket_date: date, granularity: str) -> str:
    """`2026-10-05` for a day, `2026-10` for a month. Part of identifiers, so its form never changes."""
    text = bucket_date.isoformat()
    return text if granularity == Granularity.DAY else text[:7]


def get_event_time(bucket_date: date, granularity: str) -> datetime:
    """The timestamp of a bucket's meter events: noon of the day, or of the month's last day.

    Noon and not the last second, so that the last day of a month can be told while the month is still open at Stripe:
    a timestamp may be at most five minutes ahead of the customer's clock.
    """
    if granularity == Granularity.MONTH:
        bucket_date = Period.of(bucket_date).end_date - timedelta(days=1)
    return datetime.combine(bucket_date, time(12), tzinfo=UTC)


def get_bucket_start(bucket_date: date) -> datetime:
    """The first instant of a bucket."""
    return datetime.combine(bucket_date, time(0), tzinfo=UTC)


def get_first_open_date(now: datetime, grace: timedelta) -> date:
    """The first day that is *not* yet closed at `now` (exclusive bound): a day closes `grace` after its end."""
    return (now - grace).astimezone(UTC).date()
