"""The accounts that earlier moves stumbled over, each with one thing that is easy to get wrong.

Ids 1001 to 1026 in every generated database, whatever the seed. Days are relative to the period being billed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from sandbox.legacy.book import PLANS, make_fee, make_tiers, scale_tables
from sandbox.legacy.months import Month, naive_utc
from sandbox.legacy.names import make_address, make_copies
from sandbox.legacy.specs import AccountSpec, JobSpec
from sandbox.legacy.stream import Stream

LONG_AGO = date(2018, 5, 1)


def make_awkward_accounts(period: Month, seed: int) -> list[AccountSpec]:
    """The awkward accounts in the order of their ids."""
    builder = _Builder(seed)
    return [
        *_flat_accounts(builder, period),
        *_tiered_accounts(builder, period),
        *_family(builder, period),
        *_usage_accounts(builder, period),
        *_job_accounts(builder, period),
    ]


class _Builder:
    """Fills in what a case does not care about."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def flat(
        self,
        acct_id: int,
        name: str,
        slug: str,
        country: str,
        fee: str,
        case: str,
        *,
        start: date = LONG_AGO,
        currency: str = "USD",
        **more: Any,
    ) -> AccountSpec:
        """An account with a flat fee only."""
        spec = self._make(acct_id, name, slug, country, currency, start, case)
        return replace(spec, **{"cohort": 1, "fees": (make_fee("Essential", fee, start),), **more})

    def tiered(
        self,
        acct_id: int,
        name: str,
        slug: str,
        country: str,
        plan: str,
        case: str,
        *,
        start: date = LONG_AGO,
        **more: Any,
    ) -> AccountSpec:
        """An account on one of the book's plans."""
        sold = PLANS[plan]
        spec = self._make(acct_id, name, slug, country, sold.currency, start, case)
        usual = {"fees": (make_fee(sold.name, sold.fee, start),), "tiers": make_tiers(sold.tables, start)}
        return replace(spec, **{"cohort": 2, **usual, **more})

    def _make(
        self, acct_id: int, name: str, slug: str, country: str, currency: str, start: date, case: str
    ) -> AccountSpec:
        stream = Stream(self.seed, "account", acct_id)
        return AccountSpec(
            acct_id=acct_id,
            cohort=None,
            name=name,
            slug=slug,
            currency=currency,
            created_at=naive_utc(start, 9, 30),
            address=make_address(country, stream),
            billing_cc=make_copies(slug, stream),
            case=case,
        )


def _flat_accounts(build: _Builder, period: Month) -> Iterator[AccountSpec]:
    changed = period.plus(-2).day(14)
    yield build.flat(
        1001, "Halvorsen & Pike Outdoor, Inc.", "halvorsen-pike", "US", "249.00",
        "flat fee raised within the month before last: the new one holds from the next first; ampersand in the name",
        fees=(
            make_fee("Essential", "199.00", LONG_AGO, changed),
            make_fee("Essential", "249.00", changed),
        ),
    )  # fmt: skip
    yield build.flat(
        1002, "Bäckerei Grünwald GmbH", "baeckerei-gruenwald", "DE", "139.90", "EUR; umlauts in the name",
        currency="EUR",
    )  # fmt: skip
    yield build.flat(
        1003, "Copperleaf Studio LLC", "copperleaf", "US", "249.00",
        "starts on the 12th of the period: flat fee for the days left", start=period.day(12),
    )  # fmt: skip
    later = period.day(15)
    yield build.flat(
        1004, "Ledbrook Travel Ltd", "ledbrook", "GB", "99.00",
        "flat fee raised on the 15th of the period: the period still pays the old one",
        fees=(make_fee("Essential", "99.00", LONG_AGO, later), make_fee("Essential", "149.00", later)),
    )  # fmt: skip
    yield build.flat(
        1005,
        "株式会社あおぞら商店",
        "aozora",
        "JP",
        "48000.00",
        "JPY without decimals; Japanese name",
        currency="JPY",
    )
    yield build.flat(
        1006, "Muñoz y Castaño S.L.", "munoz-castano", "ES", "99.99",
        "started on the 16th of the previous month: 99.99 for half of a 30-day month is half a cent, billed as 50.00",
        start=period.plus(-1).day(16),
    )  # fmt: skip
    closing = period.plus(-3).day(20)
    yield build.flat(
        1007, "Fennimore Classics, Inc.", "fennimore", "US", "79.00",
        "closed three months before the period: its last month was billed in full, then nothing; in no cohort",
        status="closed", cohort=None, closed_on=closing, fees=(make_fee("Essential", "79.00", LONG_AGO, closing),),
    )  # fmt: skip


def _tiered_accounts(build: _Builder, period: Month) -> Iterator[AccountSpec]:
    yield build.tiered(
        1008, "Société Générique d'Édition SAS", "generique-edition", "FR", "growth_eu",
        "EUR with tiers; accents and an apostrophe in the name",
        volumes={"ST": 3_400_000, "RM": 720_000, "CV": 260_000},
    )  # fmt: skip
    yield build.tiered(
        1009, "Windrush Gardening, Inc.", "windrush", "US", "starter",
        "stays within the free first tier: a line of 0.00", volumes={"ST": 300_000, "CV": 60_000},
        exact={"ST": 312_456, "CV": 61_250},
    )  # fmt: skip
    for acct_id, name, slug, change, case in (
        (1010, "Brackenhurst Media Ltd", "brackenhurst", period.plus(-1).day(15),
         "tier table changed on the 15th of the previous month: the new rates hold from the period's first"),
        (1011, "Tidewater Almanac LLC", "tidewater", period.day(15),
         "tier table changed on the 15th of the period: the period still goes through the old rates"),
    ):  # fmt: skip
        old, new = PLANS["growth"].tables, scale_tables(PLANS["growth"].tables, 92)
        yield build.tiered(
            acct_id, name, slug, "GB" if acct_id == 1010 else "US", "growth", case,
            tiers=make_tiers(old, LONG_AGO, change) + make_tiers(new, change),
            volumes={"ST": 6_200_000, "RM": 900_000, "CV": 340_000},
        )  # fmt: skip
    start = period.day(20)
    yield build.tiered(
        1012, "Quarterlight Cinemas, Inc.", "quarterlight", "US", "starter",
        "starts late on the 20th of the period, with tiers: flat fee for the days left, tiers not shortened",
        start=start, created_at=naive_utc(start, 23, 30), volumes={"ST": 2_600_000, "RM": 410_000, "CV": 90_000},
    )  # fmt: skip
    yield build.tiered(
        1013, "Orchard Hill Dental LLC", "orchard-hill", "US", "starter",
        "suspended since the previous month, with usage and tiers: flat fee only",
        status="suspended", suspended_from=period.plus(-1), volumes={"ST": 1_400_000, "RM": 380_000, "CV": 45_000},
    )  # fmt: skip


def _family(build: _Builder, period: Month) -> Iterator[AccountSpec]:
    yield build.tiered(
        1014, "Northmere Group, Inc.", "northmere", "US", "growth",
        "pays for its child 1015: the usage of both reaches a tier that neither reaches alone",
        volumes={"ST": 4_500_000, "RM": 450_000, "CV": 150_000},
        exact={"ST": 4_600_000, "RM": 460_000, "CV": 150_750},
    )  # fmt: skip
    done = naive_utc(period.day(17), 14, 5)
    yield build.flat(
        1015, "Northmere Regional Papers LLC", "regional.northmere", "US", "89.00",
        "child without a Stripe customer: usage, flat fee and a managed job go to 1014's invoice",
        cohort=2, parent_acct_id=1014, volumes={"ST": 880_000, "RM": 110_000},
        exact={"ST": 900_000, "RM": 120_000}, fees=(make_fee("Branch", "89.00", LONG_AGO),),
        jobs=(JobSpec("Archive import", Decimal("640.00"), "done", done),),
    )  # fmt: skip


def _usage_accounts(build: _Builder, period: Month) -> Iterator[AccountSpec]:
    yield build.tiered(
        1016, "みどり出版株式会社", "midori", "JP", "growth_jp",
        "JPY with rates that give fractions of a yen, one of them exactly half",
        volumes={"ST": 2_000_000, "RM": 430_000, "CV": 120_000},
        exact={"ST": 2_001_000, "RM": 433_217, "CV": 123_457},
    )  # fmt: skip
    yield build.tiered(
        1017, "Ridgeline Maps LLC", "ridgeline", "US", "growth", "usage exactly on a tier's bound",
        volumes={"ST": 4_900_000, "RM": 480_000, "CV": 190_000},
        exact={"ST": 5_000_000, "RM": 500_000, "CV": 1_000_000},
    )  # fmt: skip
    yield build.tiered(
        1018, "Saxby & Thorne Ltd", "saxby-thorne", "GB", "growth",
        "one impression above a tier's bound: a line of quantity 1",
        volumes={"ST": 4_900_000, "RM": 480_000, "CV": 190_000},
        exact={"ST": 5_000_001, "RM": 3_000_001, "CV": 200_001},
    )  # fmt: skip
    yield build.tiered(
        1019, "Ferrowood Furniture, Inc.", "ferrowood", "US", "starter", "one usage type at zero, loaded as zeros",
        volumes={"ST": 1_900_000, "RM": 310_000, "CV": 0}, zero_rows=("CV",),
    )  # fmt: skip
    yield build.tiered(
        1020, "Glasswing Toys Ltd", "glasswing", "GB", "grandfathered",
        "tiers but no usage at all, not one loaded row: flat fee only",
    )  # fmt: skip
    yield build.tiered(
        1021, "Pinnacle Row Books, Inc.", "pinnacle-row", "US", "starter",
        "lines that fall exactly on half a cent: rounded up, never to even",
        volumes={"ST": 1_700_000, "RM": 260_000, "CV": 140_000},
        exact={"ST": 1_734_004, "RM": 270_100, "CV": 145_050},
    )  # fmt: skip
    yield build.tiered(
        1022, "Harrowgate Radio LLC", "harrowgate", "US", "grandfathered",
        "starts on the period's first without a flat fee, which begins a month later: usage lines only",
        start=period.first, fees=(make_fee("Classic 2014", "299.00", period.next_first),),
        volumes={"ST": 1_300_000, "RM": 150_000, "CV": 70_000},
    )  # fmt: skip


def _job_accounts(build: _Builder, period: Month) -> Iterator[AccountSpec]:
    usage = {"ST": 2_300_000, "RM": 520_000, "CV": 130_000}
    last_second = naive_utc(period.next_first) - timedelta(seconds=1)
    yield build.tiered(
        1023, "Lantern Street Theatre Ltd", "lantern-street", "GB", "starter",
        "managed jobs done in the period's last second (billed) and at the next month's first moment (not yet)",
        volumes=usage,
        jobs=(
            JobSpec("Season launch campaign", Decimal("1250.00"), "done", last_second),
            JobSpec("Ticketing page tagging", Decimal("480.00"), "done", period.end),
        ),
    )  # fmt: skip
    yield build.tiered(
        1024, "Westerby Boats, Inc.", "westerby", "US", "growth",
        "a managed job done in the period but billed in advance a month before, and one still open", volumes=usage,
        jobs=(
            JobSpec(
                "Boat show landing pages", Decimal("2100.00"), "billed", naive_utc(period.day(6), 16, 45),
                period.plus(-1),
            ),
            JobSpec("Quarterly audience report", Decimal("350.00"), "open"),
        ),
    )  # fmt: skip
    yield build.tiered(
        1025, "Stillwater Spa GmbH", "stillwater", "DE", "growth_eu",
        "a managed job done two months before the period that nobody billed: not in this period either",
        volumes=usage,
        jobs=(JobSpec("Newsletter redesign", Decimal("720.50"), "done", naive_utc(period.plus(-2).day(9), 10, 0)),),
    )  # fmt: skip
    yield build.tiered(
        1026, "Clockhouse Analytics, Inc.", "clockhouse", "US", "grandfathered",
        "rates with six decimals and a free first tier in the dearest type",
        volumes={"ST": 2_750_000, "RM": 333_333, "CV": 98_765},
    )  # fmt: skip
