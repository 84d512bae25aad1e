"""Samples as senders tell them: checked field by field, all reasons at once. Pure: no database.

Numbers come as `int` or `Decimal` from the strict JSON parser, never as `float`. Fields that we don't know are left
alone: which plan a sample is billed on is looked up in our own records, whatever the sender says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from billing_worker.core.errors import InvalidInput
from metering.parsing import FieldErrors, _parse_account_id, _take
from metering.samples.clipping import MILLISECOND

MAX_INTERVAL_MS: Final = 86_400_000
MAX_MEMORY_MB: Final = 16_777_216
MAX_MILLI_CPUS: Final = 16_384_000
#: Written out, zeros at the end included; with five digits before the point still exact in `Decimal`'s 28.
MAX_DECIMALS: Final = 18
#: How far ahead of our clock a sample's end may be.
MAX_AHEAD: Final = timedelta(minutes=5)
FIRST_INSTANT: Final = datetime(2000, 1, 1, tzinfo=UTC)
EVENT_ID_PATTERN: Final = r"[A-Za-z0-9._:-]{1,64}"
METER_PATTERN: Final = r"[a-z][a-z0-9_]{0,19}"
INSTANT_PATTERN: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_EVENT_ID = re.compile(EVENT_ID_PATTERN)
_METER = re.compile(METER_PATTERN)
_INSTANT = re.compile(INSTANT_PATTERN)


@dataclass(frozen=True, slots=True)
class SampleInput:
    """One well-formed sample. `at` is UTC in whole milliseconds and ends the interval."""

    event_id: str
    account_id: int
    meter: str
    at: datetime
    interval_ms: int
    memory_mb: int
    milli_cpus: int

    def describe(self) -> dict[str, Any]:
        """What makes two samples the same, as it is shown where they are not."""
        return {
            "account_id": self.account_id,
            "meter": self.meter,
            "at": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "interval_s": str(Decimal(self.interval_ms) / 1000),
            "memory_mb": self.memory_mb,
            "cpu_count": str(Decimal(self.milli_cpus) / 1000),
        }


def parse_sample(raw: object, *, now: datetime) -> SampleInput:
    """Check one sample.

    Raises:
        InvalidInput: `fields` holds every reason for every field.
    """
    if not isinstance(raw, dict):
        raise InvalidInput("a sample is an object", fields={"sample": ["must be an object"]})
    errors: FieldErrors = {}
    event_id = _take(raw, errors, "event_id", _parse_event_id)
    account_id = _take(raw, errors, "account_id", _parse_account_id)
    meter = _take(raw, errors, "meter", _parse_meter)
    interval_ms = _take(raw, errors, "interval_s", _parse_interval)
    at = _take(raw, errors, "at", lambda value: _parse_at(value, now, interval_ms or 0))
    dimensions = raw.get("dimensions")
    memory_mb = milli_cpus = 0
    if not isinstance(dimensions, dict) or not dimensions.keys() & {"memory_mb", "cpu_count"}:
        errors["dimensions"] = ["must be an object with memory_mb, cpu_count or both"]
    else:
        if "memory_mb" in dimensions:
            memory_mb = _take(dimensions, errors, "memory_mb", _parse_memory)
        if "cpu_count" in dimensions:
            milli_cpus = _take(dimensions, errors, "cpu_count", _parse_cpus)
    if errors:
        raise InvalidInput("some fields are not valid", fields=errors)
    return SampleInput(event_id, account_id, meter, at, interval_ms, memory_mb, milli_cpus)


def get_event_id(raw: object) -> str | None:
    """The id under which a refused sample is reported, if it has one that can be sent back."""
    found = raw.get("event_id") if isinstance(raw, dict) else None
    return found if isinstance(found, str) and _EVENT_ID.fullmatch(found) else None


def _parse_event_id(value: object) -> str:
    if not isinstance(value, str) or not _EVENT_ID.fullmatch(value):
        raise ValueError("must have 1 to 64 of the characters A-Z a-z 0-9 . _ : -")
    return value


def _parse_meter(value: object) -> str:
    if not isinstance(value, str) or not _METER.fullmatch(value):
        raise ValueError("must be a meter's name, like gb_seconds")
    return value


def _parse_at(value: object, now: datetime, interval_ms: int) -> datetime:
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise ValueError("must be an instant with zone, like 2026-10-05T14:00:00.250Z")
    try:
        at = datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not an instant that exists") from None
    if at > now + MAX_AHEAD:
        raise ValueError("lies ahead of our clock: a sample tells what has been")
    # The interval moves by less than a millisecond and keeps its length.
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)
    if at < FIRST_INSTANT or at - interval_ms * MILLISECOND < FIRST_INSTANT:
        raise ValueError("lies before 2000")
    return at


def _parse_interval(value: object) -> int:
    return _parse_thousandths(value, low=1, high=MAX_INTERVAL_MS, what="seconds from 0.001 to 86400")


def _parse_memory(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_MEMORY_MB:
        raise ValueError(f"must be a whole number of megabytes from 0 to {MAX_MEMORY_MB}")
    return value


def _parse_cpus(value: object) -> int:
    return _parse_thousandths(value, low=0, high=MAX_MILLI_CPUS, what="from 0 to 16384")


def _parse_thousandths(value: object, *, low: int, high: int, what: str) -> int:
    """A JSON number with at most three decimals, in thousandths."""
    problem = ValueError(f"must be a number, {what}, with at most three decimals")
    if type(value) is int:
        # Compared before it is multiplied: it may have thousands of digits.
        if not low <= 1000 * value <= high:
            raise problem
        return 1000 * value
    # The bounds first, and not too many digits: a Decimal can be 1e400, and arithmetic would round a page of digits.
    if not isinstance(value, Decimal) or not Decimal(low) / 1000 <= value <= high // 1000:
        raise problem
    if int(value.as_tuple().exponent) < -MAX_DECIMALS or value * 1000 % 1:
        raise problem
    return int(value * 1000)
