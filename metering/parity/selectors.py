"""Reads about parity: our quantities, and for how long both sides have agreed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from django.db.models import Max, Q, Sum

from billing_worker.catalog.sampled.states import UNITS
from billing_worker.core.periods import Period
from metering.models import SampleBucket, UsageRecord
from metering.parity.models import ParityCheck
from metering.parity.states import ParityState
from metering.parity.windows import Window
from metering.samples.clipping import HOUR

_MILLIONTH: Final = Decimal("0.000001")
#: Checks are hourly. A longer silence than this ends a streak: nobody looked.
MAX_SILENCE: Final = timedelta(hours=2)
#: How far back a window that did not agree is looked at again.
RECHECK_WITHIN: Final = timedelta(days=35)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanStreak:
    """Since when every scheduled check was clean; `since` and `until` are its first and last check."""

    hours: int
    checks: int
    since: datetime | None = None
    until: datetime | None = None


def get_quantities(window: Window) -> dict[tuple[int, str], Decimal]:
    """What we hold, by account and meter, added up from the raw statements of buckets that begin in the window.

    Straight from usage records: neither roll-up nor meter events nor shadow have a part in it. Of sampled meters what
    the last roll-up added up: every sample that came before it.
    """
    records = UsageRecord.objects.filter(
        # The months as well: the records' index begins with the feed.
        feed__period__in={day.isoformat()[:7] for day in window.iter_days()},
        bucket_date__gte=window.start_date,
        bucket_date__lt=window.end_date,
    ).order_by()
    rows = records.values_list("feed__account_id", "usage_type").annotate(total=Sum("delta"))
    told = {(account_id, meter): Decimal(total) for account_id, meter, total in rows}
    return told | _get_sampled_quantities(window)


def _get_sampled_quantities(window: Window) -> dict[tuple[int, str], Decimal]:
    """Integrals by account and event name, to the millionth: of hours (or days) that begin in the window."""
    chosen = Q(pk__in=[])
    for period in sorted({Period.of(window.start_at), *(Period.of(day) for day in window.iter_days())}):
        first, last = (max(window.start_at, period.start_at), min(window.end_at, period.end_at))
        begin, end = ((at - period.start_at) // HOUR for at in (first, last))
        chosen |= Q(feed__period=str(period), hour__gte=begin, hour__lt=end)
    rows = (
        SampleBucket.objects.filter(chosen)
        .order_by()
        .values_list("feed__account_id", "feed__tier__event_name", "feed__tier__meter__quantity")
        .annotate(total=Sum("units"))
    )
    return {
        (account_id, name): (Decimal(total) / UNITS[quantity]).quantize(_MILLIONTH)
        for account_id, name, quantity, total in rows
        if total
    }


def get_clean_streak(*, now: datetime, source: str | None = None) -> CleanStreak:
    """For how many whole hours parity has been clean: the figure for the cohort gate.

    From the first to the last of the latest scheduled checks that are all clean, hourly and still going on. A breach,
    a failed or an empty check, and more than `MAX_SILENCE` without any check (until `now`, too) begin it anew.
    """
    checks = ParityCheck.objects.filter(is_scheduled=True, checked_at__lte=now)
    if source is not None:
        checks = checks.filter(source=source)
    unclean_at = checks.exclude(state=ParityState.CLEAN).aggregate(at=Max("checked_at"))["at"]
    if unclean_at is not None:
        checks = checks.filter(checked_at__gt=unclean_at)
    since: datetime | None = None
    until: datetime | None = None
    later, count = now, 0
    for checked_at in checks.order_by("-checked_at").values_list("checked_at", flat=True).iterator():
        if later - checked_at > MAX_SILENCE:
            break
        since = later = checked_at
        until, count = until or checked_at, count + 1
    if since is None or until is None:
        return CleanStreak(hours=0, checks=0)
    return CleanStreak(
        hours=int((until - since) / timedelta(hours=1)), checks=count, since=since, until=until
    )


def list_open_windows(*, source: str, now: datetime) -> list[Window]:
    """Windows of the last weeks whose latest scheduled check found a breach or failed, oldest first."""
    checks = ParityCheck.objects.filter(
        is_scheduled=True, source=source, window_start_at__gte=now - RECHECK_WITHIN
    ).order_by("checked_at", "pk")
    latest = {
        Window(start_at, end_at): state
        for start_at, end_at, state in checks.values_list("window_start_at", "window_end_at", "state")
    }
    return sorted(
        window for window, state in latest.items() if state in (ParityState.BREACH, ParityState.FAILED)
    )
