"""Billing periods: calendar months in UTC, half-open."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from billing_worker.core.errors import InvalidInput

_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """One calendar month in UTC: `start_date` is in it, `end_date` (the next first) is not."""

    year: int
    month: int

    def __post_init__(self) -> None:
        if not (2000 <= self.year <= 9998 and 1 <= self.month <= 12):
            raise InvalidInput(f"{self.year}-{self.month} is not a month between 2000-01 and 9998-12")

    @classmethod
    def parse(cls, text: str) -> Period:
        """`2026-10` to a period.

        Raises:
            InvalidInput: anything else, unicode digits and surrounding blanks included.
        """
        match = _MONTH.fullmatch(text)
        if match is None:
            raise InvalidInput(f"period {text!r} is not a month like 2026-10")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of(cls, moment: date | datetime) -> Period:
        """The period that a date, or an aware datetime seen in UTC, lies in."""
        if isinstance(moment, datetime):
            moment = to_utc(moment).date()
        return cls(moment.year, moment.month)

    @property
    def start_date(self) -> date:
        return date(self.year, self.month, 1)

    @property
    def end_date(self) -> date:
        """The first day after the period (exclusive bound)."""
        return self.next().start_date

    @property
    def start_at(self) -> datetime:
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    @property
    def end_at(self) -> datetime:
        """The first instant after the period (exclusive bound)."""
        return self.next().start_at

    @property
    def days(self) -> int:
        return calendar.monthrange(self.year, self.month)[1]

    def next(self) -> Period:
        return Period(self.year + self.month // 12, self.month % 12 + 1)

    def previous(self) -> Period:
        return Period(self.year - (self.month == 1), (self.month - 2) % 12 + 1)

    def contains(self, moment: date | datetime) -> bool:
        return Period.of(moment) == self

    def iter_days(self) -> Iterator[date]:
        """Every day of the period, in order."""
        return (self.start_date + timedelta(days=n) for n in range(self.days))

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"


def to_utc(moment: datetime) -> datetime:
    """The same instant in UTC.

    Raises:
        ValueError: the datetime is naive; guessing its zone would move money between periods.
    """
    if moment.tzinfo is None:
        raise ValueError("naive datetime: times are aware UTC everywhere in this project")
    return moment.astimezone(UTC)
