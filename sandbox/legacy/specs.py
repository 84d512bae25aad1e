"""What the generator knows of an invented account beyond what the old tables can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from sandbox.legacy.months import Month
from sandbox.legacy.rules import FlatFee, Tier


@dataclass(frozen=True)
class Address:
    """A postal address; `country` is the two-letter code."""

    line1: str
    city: str
    postal_code: str
    country: str
    state: str | None = None
    line2: str | None = None


@dataclass(frozen=True)
class JobSpec:
    """A managed job; `billed_in` names the month whose invoice carried it, None if none did."""

    title: str
    amount: Decimal
    status: str
    completed_at: datetime | None = None
    billed_in: Month | None = None


@dataclass(frozen=True)
class CustomSpec:
    """A line that somebody wrote by hand on a past invoice: no plan table explains it."""

    month: Month
    description: str
    amount: Decimal


@dataclass(frozen=True)
class AccountSpec:
    """An invented account: its row, its plan, and what happened to it before and in the period.

    `volumes` are usual monthly impressions per type, `exact` the period's own totals where a case needs them,
    `zero_rows` the types whose days are loaded with a 0 instead of no row. `case` says what makes it awkward.
    """

    acct_id: int
    cohort: int | None
    name: str
    slug: str
    currency: str
    created_at: datetime
    address: Address
    status: str = "active"
    billing_cc: str | None = None
    parent_acct_id: int | None = None
    fees: tuple[FlatFee, ...] = ()
    tiers: tuple[Tier, ...] = ()
    volumes: Mapping[str, int] = field(default_factory=dict)
    exact: Mapping[str, int] = field(default_factory=dict)
    zero_rows: tuple[str, ...] = ()
    jobs: tuple[JobSpec, ...] = ()
    customs: tuple[CustomSpec, ...] = ()
    suspended_from: Month | None = None
    closed_on: date | None = None
    reissued: Month | None = None
    off_cycle: Month | None = None
    case: str = ""

    @property
    def created_on(self) -> date:
        """The account's first day, in UTC."""
        return self.created_at.date()

    def status_in(self, month: Month) -> str:
        """The status that the account had when the month was billed."""
        if self.status == "suspended" and self.suspended_from is not None and month < self.suspended_from:
            return "active"
        return self.status
