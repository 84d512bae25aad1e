"""Cut an interval at the bounds of buckets. Pure; whole milliseconds, so the parts are exactly the whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing_worker.core.periods import Period

MILLISECOND = timedelta(milliseconds=1)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Part:
    """The part of an interval in one bucket: month (`2026-10`), the bucket's first hour in it, milliseconds."""

    period: str
    hour: int
    milliseconds: int


def clip_interval(*, at: datetime, interval_ms: int, bucket: timedelta) -> Iterator[Part]:
    """The parts, oldest first, of the half-open interval of `interval_ms` that ends at `at` (aware UTC, whole ms).

    `bucket` is an hour or a day. Buckets begin at midnight UTC, so none reaches over a month's end.
    """
    begin = at - interval_ms * MILLISECOND
    while begin < at:
        midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0)
        start = midnight + (begin - midnight) // bucket * bucket
        end = min(start + bucket, at)
        month = start.replace(day=1, hour=0)
        yield Part(f"{start:%Y-%m}", (start - month) // HOUR, (end - begin) // MILLISECOND)
        begin = end


def get_bucket_start(period: Period, hour: int) -> datetime:
    """The first instant of the bucket that begins at this hour of the month."""
    return period.start_at + hour * HOUR


def format_bucket(start: datetime, bucket: timedelta) -> str:
    """`2026-10-05T14` for an hour, `2026-10-05` for a day. Part of identifiers, so its form never changes."""
    return start.strftime("%Y-%m-%dT%H" if bucket == HOUR else "%Y-%m-%d")
