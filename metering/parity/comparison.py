"""The comparison itself. Pure: quantities in, results out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from billing_worker.core.errors import InvalidInput

#: By account and meter. What is missing counts as 0.
Quantities = Mapping[tuple[int, str], Decimal]
_ZERO: Final = Decimal(0)
_TOLERANCE: Final = re.compile(
    r"(?P<meter>[A-Za-z0-9_]{1,40})=(?P<each>[0-9]{1,2}(\.[0-9]{1,6})?)(/(?P<total>[0-9]{1,2}(\.[0-9]{1,6})?))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Percent of the larger side, from 0 to below 100: for each account, and for a meter's total."""

    each: Decimal = _ZERO
    total: Decimal = _ZERO


@dataclass(frozen=True, slots=True)
class Tolerances:
    """By meter; a meter that is not named has to agree to the unit."""

    by_meter: Mapping[str, Tolerance] = field(default_factory=dict)

    def get(self, meter: str) -> Tolerance:
        return self.by_meter.get(meter, Tolerance())

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Tolerances:
        """`gb_seconds=0.5` or `gb_seconds=0.5/0.1`: percent for each account, after the slash for the total.

        Raises:
            InvalidInput: written otherwise, or a meter is named twice.
        """
        found: dict[str, Tolerance] = {}
        for text in texts:
            match = _TOLERANCE.fullmatch(text)
            if match is None:
                raise InvalidInput(
                    f"{text[:60]!r} is not a tolerance in percent like gb_seconds=0.5 or gb_seconds=0.5/0.1"
                )
            if match["meter"] in found:
                raise InvalidInput(f"the tolerance of {match['meter']} is given twice")
            each = Decimal(match["each"])
            found[match["meter"]] = Tolerance(each=each, total=Decimal(match["total"] or each))
        return cls(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Both sides of one figure. `account_id` None: all accounts of the meter, their differences added without signs."""

    account_id: int | None
    meter: str
    ours: Decimal
    theirs: Decimal
    gross_difference: Decimal
    tolerance_percent: Decimal

    @property
    def is_breach(self) -> bool:
        """More than the tolerance allows; exactly at it is within. Nothing against something never is."""
        if self.gross_difference and not (self.ours and self.theirs):
            return True
        largest = max(abs(self.ours), abs(self.theirs))
        return self.gross_difference * 100 > self.tolerance_percent * largest


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Every account that differs, then each meter's total. `compared` counts the figures either side has."""

    compared: int
    accounts: tuple[Result, ...]
    totals: tuple[Result, ...]

    @property
    def breaches(self) -> tuple[Result, ...]:
        return tuple(result for result in (*self.totals, *self.accounts) if result.is_breach)


def compare_quantities(*, ours: Quantities, theirs: Quantities, tolerances: Tolerances) -> Comparison:
    """Compare the union of both sides per account, and per meter in total gross of sign.

    The total adds up the differences without their signs: 10 too many for one account do not make good 10 too few for
    another. A figure of 0 is the same as none.
    """
    keys = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) or theirs.get(key))
    each = [_compare_account(key, ours, theirs, tolerances) for key in keys]
    return Comparison(
        compared=len(keys),
        accounts=tuple(result for result in each if result.gross_difference),
        totals=tuple(_add_up(each, tolerances)),
    )


def _compare_account(
    key: tuple[int, str], ours: Quantities, theirs: Quantities, tolerances: Tolerances
) -> Result:
    account_id, meter = key
    mine, other = ours.get(key, _ZERO), theirs.get(key, _ZERO)
    return Result(
        account_id=account_id,
        meter=meter,
        ours=mine,
        theirs=other,
        gross_difference=abs(mine - other),
        tolerance_percent=tolerances.get(meter).each,
    )


def _add_up(each: list[Result], tolerances: Tolerances) -> Iterator[Result]:
    for meter in sorted({result.meter for result in each}):
        of_meter = [result for result in each if result.meter == meter]
        yield Result(
            account_id=None,
            meter=meter,
            ours=sum((result.ours for result in of_meter), _ZERO),
            theirs=sum((result.theirs for result in of_meter), _ZERO),
            gross_difference=sum((result.gross_difference for result in of_meter), _ZERO),
            tolerance_percent=tolerances.get(meter).total,
        )
