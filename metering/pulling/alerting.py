"""What people hear about pulls, and when it is over."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import Severity
from billing_worker.core.periods import Period

DAY_OVERDUE: Final = "usage_day_overdue"
DAY_REFUSED: Final = "usage_day_refused"
PULL_FAILED: Final = "usage_pull_failed"


def report_overdue_days(
    *,
    source: str,
    period: Period,
    listed: Collection[date],
    first_day: date | None,
    overdue_after: timedelta,
    now: datetime,
) -> list[date]:
    """Raise an alert for each day that should be complete and is not; resolve those that came. Returns the overdue.

    `listed` are the complete days; days before `first_day` were never expected. A day is due `overdue_after` its end.
    """
    overdue = [
        day
        for day in period.iter_days()
        if day not in listed
        and first_day is not None
        and day >= first_day
        and _get_end(day) + overdue_after <= now
    ]
    for day in overdue:
        hours = int((now - _get_end(day)).total_seconds() // 3600)
        raise_alert(
            name=DAY_OVERDUE,
            severity=Severity.WARNING,
            subject=f"{source} {day}",
            detail=f"{day} ended {hours} hours ago and {source} does not call it complete: usage of it is missing",
            now=now,
            context={"source": source, "day": day.isoformat()},
        )
    for day in listed:
        resolve_alert(name=DAY_OVERDUE, subject=f"{source} {day}", now=now)
    return overdue


def report_day(*, source: str, day: date, detail: str, refused: int, now: datetime) -> None:
    """An alert while rows of the day are refused, none when all are in."""
    subject = f"{source} {day}"
    if not refused:
        resolve_alert(name=DAY_REFUSED, subject=subject, now=now)
        return
    raise_alert(
        name=DAY_REFUSED,
        severity=Severity.WARNING,
        subject=subject,
        detail=f"{refused} row(s) of {day} were not taken:\n{detail}",
        now=now,
        context={"source": source, "day": day.isoformat(), "refused": refused},
    )


def report_failure(*, source: str, error: str, now: datetime) -> None:
    """The scheduled pull could not read its source."""
    raise_alert(name=PULL_FAILED, severity=Severity.WARNING, subject=source, detail=error, now=now)


def report_success(*, source: str, now: datetime) -> None:
    """The scheduled pull read its source to the end."""
    resolve_alert(name=PULL_FAILED, subject=source, now=now)


def _get_end(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), tzinfo=UTC)
