"""Usage by customer and meter, in hourly totals, so that reading a month doesn't walk its events.

The events themselves are stored rows of kind `_meter_event`; the totals are derived from them, built on first use after
a start or a reset and kept in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from sandbox.engine.routing import on_load
from sandbox.engine.store import Store

EVENT_KIND = "_meter_event"
HOUR = 3_600


@dataclass(slots=True)
class Totals:
    """What a stretch of time holds: the sum, the number and the newest value of its events."""

    total: int = 0
    count: int = 0
    last_at: tuple[int, int] = (-1, -1)
    last_value: int = 0

    def add(self, timestamp: int, order: int, value: int) -> None:
        self.total += value
        self.count += 1
        if (timestamp, order) >= self.last_at:
            self.last_at, self.last_value = (timestamp, order), value

    def merge(self, other: Totals) -> None:
        self.total += other.total
        self.count += other.count
        if other.count and other.last_at >= self.last_at:
            self.last_at, self.last_value = other.last_at, other.last_value

    def value(self, formula: str) -> int:
        """The aggregate that a meter's formula asks for; 0 where there are no events."""
        return {"sum": self.total, "count": self.count, "last": self.last_value}[formula]


@dataclass(slots=True)
class _Hour:
    totals: Totals = field(default_factory=Totals)
    entries: list[tuple[int, int, int]] = field(default_factory=list)


class UsageIndex:
    """Hourly totals of every customer and meter, and the events by identifier."""

    def __init__(self, store: Store) -> None:
        self._series: dict[tuple[str, str], dict[int, _Hour]] = {}
        self._identifiers: dict[str, dict[str, Any]] = {}
        self._order = 0
        for row in store.all(EVENT_KIND):
            self.add(row)

    def add(self, row: dict[str, Any]) -> None:
        """Count one stored event; a cancelled one only keeps its identifier taken."""
        self._identifiers[row["identifier"]] = row
        if row.get("cancelled"):
            return
        self._order += 1
        hours = self._series.setdefault((row["meter"], row["customer"]), {})
        hour = hours.setdefault(row["timestamp"] // HOUR, _Hour())
        hour.totals.add(row["timestamp"], self._order, row["value"])
        hour.entries.append((row["timestamp"], self._order, row["value"]))

    def cancel(self, row: dict[str, Any]) -> None:
        """Take one counted event out of its hour; the hour is summed anew."""
        hour = self._series[(row["meter"], row["customer"])][row["timestamp"] // HOUR]
        for position, (timestamp, _, value) in enumerate(hour.entries):
            if timestamp == row["timestamp"] and value == row["value"]:
                del hour.entries[position]
                break
        hour.totals = _totals_of(hour.entries)

    def event(self, identifier: str) -> dict[str, Any] | None:
        """The stored event that last used an identifier."""
        return self._identifiers.get(identifier)

    def totals(self, meter_id: str, customer_id: str, start: int, end: int) -> Totals:
        """What the customer used on a meter in `[start, end)`; epoch seconds."""
        result = Totals()
        for hour_start, hour in self._hours(meter_id, customer_id, start, end):
            if hour_start >= start and hour_start + HOUR <= end:
                result.merge(hour.totals)
            else:
                result.merge(_totals_of([entry for entry in hour.entries if start <= entry[0] < end]))
        return result

    def grouped(
        self, meter_id: str, customer_id: str, start: int, end: int, width: int
    ) -> list[tuple[int, Totals]]:
        """The stretches of `width` seconds (a multiple of an hour) in `[start, end)` that hold events, oldest first."""
        groups: dict[int, Totals] = {}
        for hour_start, _ in self._hours(meter_id, customer_id, start, end):
            group = hour_start - hour_start % width
            if group not in groups:
                groups[group] = self.totals(meter_id, customer_id, max(group, start), min(group + width, end))
        return sorted((group, totals) for group, totals in groups.items() if totals.count)

    def _hours(self, meter_id: str, customer_id: str, start: int, end: int) -> Iterator[tuple[int, _Hour]]:
        hours = self._series.get((meter_id, customer_id), {})
        first, last = start // HOUR, (end - 1) // HOUR
        if last - first < len(hours):
            keys = [key for key in range(first, last + 1) if key in hours]
        else:
            keys = [key for key in hours if first <= key <= last]
        for key in keys:
            yield key * HOUR, hours[key]


def _totals_of(entries: list[tuple[int, int, int]]) -> Totals:
    totals = Totals()
    for timestamp, order, value in entries:
        totals.add(timestamp, order, value)
    return totals


_indexes: WeakKeyDictionary[Store, UsageIndex] = WeakKeyDictionary()


@on_load
def _forget(store: Store) -> None:
    _indexes.pop(store, None)


def usage_index(store: Store) -> UsageIndex:
    """The totals of this store (or of the one beneath a what-if view), built on first use."""
    while (base := getattr(store, "base", None)) is not None:
        store = base
    index = _indexes.get(store)
    if index is None:
        index = _indexes[store] = UsageIndex(store)
    return index
