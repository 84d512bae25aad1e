"""Usage from a CSV file: read and checked whole before anything is stored, problems named by line.

The header is the old export's (`account_id,period,usage_type,quantity`) or the warehouse's
(`acct_id,day,usage_type,impressions`), each with a `reason` column if wanted. Columns may stand in any order.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Final

from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period
from metering.parsing import UsageInput, parse_record
from metering.pulling.sources import DayReading, SourceDay, SourceRow
from metering.states import Granularity

SHOWN_PROBLEMS: Final = 20
_HEADERS: Final = (
    ("account_id", "period", "usage_type", "quantity"),
    ("acct_id", "day", "usage_type", "impressions"),
)
_NUMBER: Final = re.compile(r"[0-9]{1,19}")


class UnusableFile(InvalidInput):
    """The usage file has problems. Nothing of it was stored: correct the lines that are named and pull it again."""

    code = "unusable_file"


class CsvSource:
    """A file that was read and found good. A day holds what the file says of it and nothing else."""

    name = "csv"
    is_whole = False

    def __init__(self, path: Path, *, period: Period, today: date) -> None:
        """Read the file.

        Raises:
            UnusableFile: it can't be read, or lines are wrong, doubled or of another month, or of a day not over yet.
        """
        self._title = path.name.encode("ascii", "backslashreplace").decode()[:200]
        self._period = period
        self._days = _read_file(path, period, today)

    def list_days(self, period: Period) -> list[SourceDay]:
        """The days that the file has lines for, in order."""
        return [self._describe_day(day) for day in sorted(self._days) if period.contains(day)]

    def get_first_day(self) -> date | None:
        return min(self._days, default=None)

    @contextmanager
    def open_day(self, day: date) -> Iterator[DayReading | None]:
        if day not in self._days:
            yield None
            return
        lines = self._days[day]
        rows = (
            SourceRow(record.account_id, record.usage_type, record.quantity, f"line {line}", record.reason)
            for (_, _, line), record in sorted(
                ((record.account_id, record.usage_type, line), record) for line, record in lines.items()
            )
        )
        yield DayReading(said=self._describe_day(day), rows=rows)

    def describe_restatement(self, said: SourceDay) -> str:
        return f"restated by {self._title}"

    def _describe_day(self, day: date) -> SourceDay:
        records = self._days[day].values()
        statements = sorted(f"{r.account_id}:{r.usage_type}:{r.quantity}:{r.reason}" for r in records)
        return SourceDay(
            day=day,
            rows=len(statements),
            fingerprint=sha256("\n".join(statements).encode()).hexdigest(),
        )


def _read_file(path: Path, period: Period, today: date) -> dict[date, dict[int, UsageInput]]:
    """The records by day and by the line that they end on."""
    days: defaultdict[date, dict[int, UsageInput]] = defaultdict(dict)
    lines: dict[tuple[int, str, date, str], int] = {}
    problems: list[str] = []
    count = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, fields in _read_lines(file, path):
                try:
                    record = _parse_line(fields, period, today)
                    first = lines.setdefault(record.key, line)
                    if first != line:
                        raise InvalidInput(f"says again what line {first} says")
                    days[record.bucket_date][line] = record
                except InvalidInput as error:
                    count += 1
                    if count <= SHOWN_PROBLEMS:
                        problems.append(f"line {line}: {_describe(error)}")
    except UnicodeDecodeError as error:
        raise UnusableFile(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    except OSError as error:
        raise UnusableFile(f"{path} can't be read: {error.strerror}") from None
    except csv.Error as error:
        raise UnusableFile(f"{path} is not a CSV file: {error}") from None
    if count:
        more = [f"and {count - SHOWN_PROBLEMS} more"] if count > SHOWN_PROBLEMS else []
        listed = "\n".join(f"  {problem}" for problem in [*problems, *more])
        raise UnusableFile(f"{path} has {count} problem(s), nothing was stored:\n{listed}")
    return dict(days)


def _read_lines(file: Iterator[str], path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each line that isn't blank, its fields under the old export's names; `reason` only where it says something."""
    reader = csv.reader(file, strict=True)
    header = [name.strip() for name in next(reader, [])]
    wanted = next((names for names in _HEADERS if set(names) <= set(header)), None)
    if wanted is None or len(header) != len(set(header)) or set(header) - set(wanted) - {"reason"}:
        raise UnusableFile(
            f"{path}: line 1 must name the columns {','.join(_HEADERS[0])} or {','.join(_HEADERS[1])}"
            " (and `reason` if wanted)"
        )
    names = {**dict(zip(wanted, _HEADERS[0], strict=True)), "reason": "reason"}
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            yield reader.line_num, {"columns": f"{len(cells)} where the header has {len(header)}"}
            continue
        fields = {names[name]: cell.strip() for name, cell in zip(header, cells, strict=True)}
        yield reader.line_num, {k: v for k, v in fields.items() if v or k != "reason"}


def _parse_line(fields: dict[str, str], period: Period, today: date) -> UsageInput:
    if "columns" in fields:
        raise InvalidInput(f"has {fields['columns']} columns")
    raw: dict[str, object] = dict(fields)
    for name in ("account_id", "quantity"):
        if _NUMBER.fullmatch(fields[name]):
            raw[name] = int(fields[name])
    record = parse_record(raw, today=today)
    if record.granularity is not Granularity.DAY:
        raise InvalidInput("is of a month: a pull takes days like 2026-10-05")
    if record.bucket_date >= today:
        raise InvalidInput(f"is of {record.bucket_date}, which is not over yet")
    if not period.contains(record.bucket_date):
        raise InvalidInput(f"is of {record.bucket_date}, which is not in {period}")
    return record


def _describe(error: InvalidInput) -> str:
    reasons = [f"{name} {'; '.join(texts)}" for name, texts in sorted(error.fields.items())]
    return ", ".join(reasons) or str(error)
