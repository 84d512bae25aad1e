"""Prorated amounts: the part of a recurring price that falls on a stretch of time, by the second."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from sandbox.billing.calendar import period_containing
from sandbox.billing.money import round_half_up


def share_of_cycles(start: int, end: int, *, anchor: int, interval: str, interval_count: int) -> Fraction:
    """How many cycles `[start, end)` covers; each second weighs one part of the cycle it lies in.

    A stretch that ends at the anchor is measured against the full interval before it, `[anchor - interval, anchor)`.
    """
    share = Fraction(0)
    at = start
    while at < end:
        cycle_start, cycle_end = period_containing(anchor, interval, interval_count, at)
        until = min(end, cycle_end)
        share += Fraction(until - at, cycle_end - cycle_start)
        at = until
    return share


def prorate(amount: Decimal, share: Fraction) -> int:
    """The share of an exact amount in minor units, rounded half up (away from zero) once."""
    exact = Fraction(amount) * share
    doubled = abs(exact) * 2
    rounded = int((doubled + 1) // 2)
    return rounded if exact >= 0 else -rounded


def whole(amount: Decimal) -> int:
    """A full period's amount in minor units."""
    return round_half_up(amount)
