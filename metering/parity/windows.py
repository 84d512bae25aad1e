"""Windows: half-open stretches of time in UTC that both sides add up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from billing_worker.core.errors import InvalidInput

MAX_DAYS: Final = 62
_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2}))?"
)


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """`start_at` is in it, `end_at` is not. A bucket (a day's or a month's total) counts where it begins."""

    start_at: datetime
    end_at: datetime

    def __post_init__(self) -> None:
        if self.start_at >= self.end_at:
            raise InvalidInput("the window is empty: `to` must be after `from`")
        if self.end_at - self.start_at > timedelta(days=MAX_DAYS):
            raise InvalidInput(f"the window has more than {MAX_DAYS} days: ask for parts of it")
        if any(at.minute or at.second or at.microsecond for at in (self.start_at, self.end_at)):
            raise InvalidInput("the window must begin and end at a full hour (UTC)")

    @classmethod
    def parse(cls, start: str, end: str) -> Window:
        """From `2026-10-05` (midnight UTC) or `2026-10-05T14:00:00Z`.

        Raises:
            InvalidInput: not such instants, no full hours, empty, or more than `MAX_DAYS` days.
        """
        return cls(_parse_instant("from", start), _parse_instant("to", end))

    @classmethod
    def of_day(cls, day: date) -> Window:
        start_at = datetime.combine(day, time(), tzinfo=UTC)
        return cls(start_at, start_at + _DAY)

    @property
    def is_hour(self) -> bool:
        """One hour: only what is counted by the hour can be compared over it."""
        return self.end_at - self.start_at == _HOUR

    @property
    def start_date(self) -> date:
        """The first day that begins in the window."""
        return _get_first_day_from(self.start_at)

    @property
    def end_date(self) -> date:
        """The first day that begins after it (exclusive bound)."""
        return _get_first_day_from(self.end_at)

    def iter_days(self) -> Iterator[date]:
        """Every day that begins in the window, in order."""
        return (self.start_date + n * _DAY for n in range((self.end_date - self.start_date).days))

    def __str__(self) -> str:
        return f"{format_instant(self.start_at)} to {format_instant(self.end_at)}"


def format_instant(moment: datetime) -> str:
    """`2026-10-05T14:00:00Z`: how both sides write instants."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def get_settled_window(now: datetime, settle: timedelta) -> Window:
    """The last day (UTC) that ended at least `settle` ago."""
    return Window.of_day((now - settle).astimezone(UTC).date() - _DAY)


def get_settled_hour(now: datetime, settle: timedelta) -> Window:
    """The last hour (UTC) that ended at least `settle` ago."""
    end_at = (now - settle).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return Window(end_at - _HOUR, end_at)


def _parse_instant(name: str, text: str) -> datetime:
    problem = f"`{name}` must be an instant like 2026-10-05 or 2026-10-05T14:00:00Z"
    if not _INSTANT.fullmatch(text):
        raise InvalidInput(problem, fields={name: ["is not an instant"]})
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(problem, fields={name: ["is not an instant"]}) from None
    if not 2000 <= moment.year <= 9998:
        raise InvalidInput(problem, fields={name: ["is not between 2000 and 9998"]})
    return moment


def _get_first_day_from(moment: datetime) -> date:
    day = moment.date()
    return day if moment.time() == time() else day + _DAY
