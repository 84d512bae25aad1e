"""All the invented accounts: the awkward ones first, then ordinary ones until the asked-for number is reached."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from sandbox.legacy.awkward import make_awkward_accounts
from sandbox.legacy.book import FLAT_FEES, PLANS, make_fee, make_tiers, scale_tables
from sandbox.legacy.errors import LegacyError
from sandbox.legacy.months import Month, naive_utc
from sandbox.legacy.names import CompanyNames, make_address, make_copies
from sandbox.legacy.specs import AccountSpec, CustomSpec, JobSpec
from sandbox.legacy.stream import Stream

MIN_ACCOUNTS = 45
MAX_ACCOUNTS = 20_000
COUNTRIES = ("US", "US", "US", "GB", "DE", "FR", "ES", "JP")
CURRENCIES = {"DE": "EUR", "FR": "EUR", "ES": "EUR", "JP": "JPY"}
USUAL_PLANS = {
    "USD": ("starter", "growth", "scale", "grandfathered"),
    "EUR": ("growth_eu",),
    "JPY": ("growth_jp",),
}
USUAL_VOLUMES = {
    "starter": {"ST": (300, 3_200), "RM": (90, 1_300), "CV": (20, 240)},
    "growth": {"ST": (800, 12_000), "RM": (200, 3_800), "CV": (60, 1_200)},
    "scale": {"ST": (8_000, 72_000), "RM": (1_500, 14_000), "CV": (400, 2_600)},
    "grandfathered": {"ST": (200, 2_400), "RM": (40, 600), "CV": (10, 160)},
    "growth_eu": {"ST": (700, 8_500), "RM": (150, 1_700), "CV": (40, 600)},
    "growth_jp": {"ST": (600, 7_500), "RM": (120, 1_400), "CV": (40, 520)},
}
JOB_TITLES = (
    "Campaign set-up",
    "Creative production",
    "Tag audit",
    "Audience research",
    "Landing page build",
    "Reporting workshop",
)
CUSTOM_LINES = (
    ("Loyalty credit", -1),
    ("Goodwill credit for the outage", -1),
    ("Hand-agreed minimum spend", 1),
    ("Setup of a private deal", 1),
)


def make_roster(*, period: Month, seed: int, accounts: int) -> list[AccountSpec]:
    """The accounts in the order of their ids, from 1001; the same seed and period give the same roster.

    Raises: LegacyError if `accounts` leaves no room for the awkward ones, or is beyond what the ids allow.
    """
    if not MIN_ACCOUNTS <= accounts <= MAX_ACCOUNTS:
        raise LegacyError(f"--accounts must lie between {MIN_ACCOUNTS} and {MAX_ACCOUNTS}")
    roster = make_awkward_accounts(period, seed)
    flat = accounts // 3 - sum(1 for spec in roster if spec.cohort in (1, None))
    custom = accounts // 5
    usual = accounts - len(roster) - flat - custom
    # Mixed by position, not by chance, so that the numbers per cohort hold exactly.
    cohorts = sorted(
        [(index / flat, 1) for index in range(flat)]
        + [(index / usual, 2) for index in range(usual)]
        + [(index / custom, 3) for index in range(custom)]
    )
    seen = {1: 0, 2: 0, 3: 0}
    names = CompanyNames()
    for _, cohort in cohorts:
        roster.append(_make_ordinary(roster[-1].acct_id + 1, cohort, seen[cohort], names, period, seed))
        seen[cohort] += 1
    return roster


def _make_ordinary(
    acct_id: int, cohort: int, rank: int, names: CompanyNames, period: Month, seed: int
) -> AccountSpec:
    stream = Stream(seed, "account", acct_id)
    country = stream.pick(COUNTRIES)
    currency = CURRENCIES.get(country, "USD")
    name, slug = names.take(country, stream)
    start = date(2012, 1, 1) + timedelta(days=stream.below(4_300))
    if rank % 9 == 4:  # some joined within the past year, so that the history holds prorated first months
        start = period.plus(-stream.between(2, 11)).day(stream.between(2, 27))
    spec = AccountSpec(
        acct_id=acct_id,
        cohort=cohort,
        name=name,
        slug=slug,
        currency=currency,
        created_at=naive_utc(start, stream.between(7, 19), stream.below(60)),
        address=make_address(country, stream),
        billing_cc=make_copies(slug, stream),
    )
    if cohort == 1:
        return replace(spec, fees=(make_fee("Essential", stream.pick(FLAT_FEES[currency]), start),))
    if cohort == 2:
        return _with_plan(spec, stream.pick(USUAL_PLANS[currency]), stream)
    return _with_custom_history(spec, rank, period, stream)


def _with_plan(spec: AccountSpec, plan_key: str, stream: Stream, percent: int = 100) -> AccountSpec:
    plan = PLANS[plan_key]
    tables = plan.tables if percent == 100 else scale_tables(plan.tables, percent)
    name = plan.name if percent == 100 else f"{plan.name} negotiated"
    volumes = {
        usage_type: stream.between(low, high) * 1_000 + stream.below(1_000)
        for usage_type, (low, high) in USUAL_VOLUMES[plan_key].items()
    }
    return replace(
        spec,
        fees=(make_fee(name, plan.fee, spec.created_on),),
        tiers=make_tiers(tables, spec.created_on),
        volumes=volumes,
    )


def _with_custom_history(spec: AccountSpec, rank: int, period: Month, stream: Stream) -> AccountSpec:
    """Cohort 3: many managed jobs, lines written by hand, negotiated rates; every fourth has no tiers at all."""
    spec = replace(spec, created_at=naive_utc(date(2013, 3, 1) + timedelta(days=stream.below(2_000)), 10, 15))
    if rank % 4 == 3:
        spec = replace(spec, fees=(make_fee("Managed", FLAT_FEES[spec.currency][-1], spec.created_on),))
    else:
        plan_key = stream.pick(USUAL_PLANS[spec.currency])
        spec = _with_plan(spec, plan_key, stream, percent=stream.pick((85, 88, 90, 95)))
    unit = Decimal(10_000) if spec.currency == "JPY" else Decimal("50.50")
    jobs = [_past_job(period.plus(-back), unit, stream) for back in (11, 8, 5, 2)]
    if rank % 3 != 2:
        jobs += [_present_job(period, unit, stream) for _ in range(1 + rank % 2)]
    if rank % 4 == 1:
        jobs.append(JobSpec(stream.pick(JOB_TITLES), unit * stream.between(4, 30), "open"))
    customs = []
    for back in sorted({stream.between(1, 12) for _ in range(4)}, reverse=True):
        text, sign = stream.pick(CUSTOM_LINES)
        customs.append(CustomSpec(period.plus(-back), text, sign * unit * stream.between(1, 3)))
    return replace(
        spec,
        jobs=tuple(jobs),
        customs=tuple(customs),
        reissued=period.plus(-4) if rank % 6 == 0 else None,
        off_cycle=period.plus(-5) if rank % 6 == 1 else None,
    )


def _past_job(month: Month, unit: Decimal, stream: Stream) -> JobSpec:
    done = naive_utc(month.day(stream.between(2, 27)), stream.between(8, 18), stream.below(60))
    return JobSpec(stream.pick(JOB_TITLES), unit * stream.between(4, 30), "billed", done, month)


def _present_job(period: Month, unit: Decimal, stream: Stream) -> JobSpec:
    done = naive_utc(period.day(stream.between(2, 27)), stream.between(8, 18), stream.below(60))
    return JobSpec(stream.pick(JOB_TITLES), unit * stream.between(4, 30), "done", done)
