"""Calendar months in UTC: the old service knows no other billing period."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sandbox.legacy.errors import LegacyError


@dataclass(frozen=True, order=True)
class Month:
    """A calendar month, half-open: `first` belongs to it, `next_first` does not."""

    year: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """Read `YYYY-MM`. Raises: LegacyError for anything else."""
        match = re.fullmatch(r"([0-9]{4})-(0[1-9]|1[0-2])", text)
        if match is None or match[1] == "0000":
            raise LegacyError(f"{text!r} is not a month: write it as YYYY-MM, for example 2026-10")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.number:02d}"

    @property
    def first(self) -> date:
        """The first day."""
        return date(self.year, self.number, 1)

    @property
    def day_count(self) -> int:
        """How many days the month has, 28 to 31."""
        return calendar.monthrange(self.year, self.number)[1]

    @property
    def next_first(self) -> date:
        """The first day after the month."""
        return self.plus(1).first

    @property
    def end(self) -> datetime:
        """The first moment after the month, as naive UTC: times in the old database carry no zone."""
        return naive_utc(self.next_first)

    @property
    def days(self) -> list[date]:
        """Every day, in order."""
        return [self.first + timedelta(days=index) for index in range(self.day_count)]

    @property
    def label(self) -> str:
        """The month as people write it, for example `October 2026`."""
        return f"{calendar.month_name[self.number]} {self.year}"

    def day(self, number: int) -> date:
        """The given day of the month, 1 to `day_count`."""
        return date(self.year, self.number, number)

    def plus(self, months: int) -> Month:
        """The month that many months later (earlier when negative)."""
        index = self.year * 12 + self.number - 1 + months
        return Month(index // 12, index % 12 + 1)

    def holds(self, day: date) -> bool:
        """Whether the day lies in the month."""
        return self.first <= day < self.next_first


def naive_utc(day: date, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    """A moment as the old database stores it: UTC without a zone."""
    return datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=UTC).replace(tzinfo=None)
