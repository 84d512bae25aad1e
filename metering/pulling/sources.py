"""What a source of usage is: days that it calls complete, and the rows of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from billing_worker.core.periods import Period


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDay:
    """A complete day. Another `fingerprint` than last time says that it was restated."""

    day: date
    rows: int
    fingerprint: str
    completed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SourceRow:
    """An account's total of a day and type, unchecked. `where` says where a person finds the row."""

    account_id: object
    usage_type: object
    quantity: object
    where: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayReading:
    """A day as of one moment: what the source says of it, and its rows in the order of account and type."""

    said: SourceDay
    rows: Iterator[SourceRow]


class UsageSource(Protocol):
    """Where usage is pulled from."""

    @property
    def name(self) -> str:
        """Short and stable: it is kept with every record."""

    @property
    def is_whole(self) -> bool:
        """Whether a day here is all there is, so that a row which is gone means zero."""

    def list_days(self, period: Period) -> list[SourceDay]:
        """The period's complete days, in order."""

    def get_first_day(self) -> date | None:
        """The first day that the source ever completed: none before it can be overdue."""

    def open_day(self, day: date) -> AbstractContextManager[DayReading | None]:
        """Read a day, unaffected by what is loaded meanwhile. None: it is not complete (any more)."""

    def describe_restatement(self, said: SourceDay) -> str:
        """The reason to keep with a record that this source states anew."""
