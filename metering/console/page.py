"""What the page of an account's month shows, gathered in one place so that the template only lays it out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from billing_worker.accounts.models import Account
from billing_worker.accounts.states import Biller
from billing_worker.core.money import format_minor
from billing_worker.core.periods import Period
from billing_worker.core.rating import USAGE_TYPES, UsageType
from metering.buckets import format_bucket
from metering.console.charts import Chart, build_chart
from metering.console.explaining import ExplainedGroup, describe_tier, explain_estimate
from metering.draft_window.completions import get_completion
from metering.draft_window.states import OPEN_STATES
from metering.estimate import Estimate, estimate_bill
from metering.models import DraftHold, MeterEvent, UsageRecord
from metering.samples.selectors import SampledMonth
from metering.selectors import BucketUsage, PeriodUsage, get_period_usage
from metering.states import EventState, Granularity
from metering.true_ups.models import TrueUp
from metering.true_ups.page import TONES as TRUE_UP_TONES
from metering.true_ups.selectors import find_invoices, list_true_ups_of
from metering.true_ups.states import TrueUpState

TITLES: dict[UsageType, str] = {"ST": "ST impressions", "RM": "RM impressions", "CV": "CV impressions"}
#: Meter events in the table: an hourly meter makes some 700 a month. The list of all has filters.
EVENTS_SHOWN = 250
#: The order in which states are told: what waits for someone first.
STATE_TONES = {
    EventState.REJECTED: "drift",
    EventState.EXPIRED: "drift",
    EventState.UNRESOLVED: "warning",
    EventState.PENDING: "warning",
    EventState.SENDING: "warning",
    EventState.SHADOW: "",
    EventState.SKIPPED: "",
    EventState.SENT: "ok",
}


@dataclass(frozen=True, slots=True)
class Restatement:
    """A later statement about a bucket."""

    usage_type: str
    change: str
    quantity: str
    reason: str
    author: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class BucketRow:
    """A day (or the month) with a figure for each type, empty where nothing is held."""

    bucket: str
    quantities: tuple[str, ...]
    restatements: tuple[Restatement, ...]
    is_rolled_up: bool


@dataclass(frozen=True, slots=True)
class TierRow:
    """A step of the payer's price and what the month has put into it."""

    usage_type: str
    range: str
    reached: str
    is_reached: bool


@dataclass(frozen=True, slots=True)
class EventRow:
    """A meter event of the month."""

    event: MeterEvent
    value: str


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many of the month's meter events are in a state."""

    label: str
    tone: str
    count: int


@dataclass(frozen=True, slots=True)
class MemberRow:
    """An account on the same bill with its own usage."""

    account_id: int
    name: str
    quantities: tuple[str, ...]
    is_this: bool


@dataclass(frozen=True, slots=True)
class TrueUpRow:
    """A true-up of the month: what came after the invoice."""

    true_up: TrueUp
    amount: str
    tone: str
    invoice: str


@dataclass(frozen=True, slots=True)
class SampledRow:
    """A sampled meter's month on a plan tier. The chart shows whole units a day; `quantity` has three places."""

    title: str
    event_name: str
    quantity: str
    billed: int
    is_complete: bool
    chart: Chart


@dataclass(frozen=True, slots=True)
class WindowRow:
    """How the month stands before its invoice: whether its sender called it complete, and what holds the draft."""

    completed_by: str
    completed_at: datetime | None
    covers_all: bool
    hold: DraftHold | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UsagePage:
    """Everything on the page. `comparison` is even, apart, or empty while the two can't be equal yet."""

    account: Account
    payer: Account
    period: Period
    period_name: str
    previous_period: Period
    next_period: Period
    fed: str
    charts: tuple[Chart, ...]
    sampled: tuple[SampledRow, ...]
    has_restatements: bool
    types: tuple[UsageType, ...]
    buckets: tuple[BucketRow, ...]
    totals: tuple[str, ...]
    tiers: tuple[TierRow, ...]
    members: tuple[MemberRow, ...]
    events: tuple[EventRow, ...]
    more_events: int
    states: tuple[StateCount, ...]
    true_ups: tuple[TrueUpRow, ...]
    groups: tuple[ExplainedGroup, ...]
    total: str
    billed: str
    difference: str
    comparison: str
    is_over: bool
    bills_at_stripe: bool
    window: WindowRow


def build_usage_page(*, account: Account, period: Period, now: datetime) -> UsagePage:
    """The page of the account's month; the estimate on it is of whoever pays. Reads only."""
    usage = get_period_usage(account.pk, period)
    estimate = estimate_bill(account, period=period, now=now)
    billed = estimate.billed_minor
    rows = _build_buckets(usage)
    return UsagePage(
        account=account,
        payer=estimate.payer,
        period=period,
        period_name=f"{period.start_date:%B %Y}",
        previous_period=period.previous(),
        next_period=period.next(),
        fed=Granularity(usage.granularity).label if usage.granularity else "",
        charts=_build_charts(usage, estimate),
        sampled=tuple(_build_sampled(month, period) for month in usage.sampled),
        has_restatements=any(row.restatements for row in rows),
        types=USAGE_TYPES,
        buckets=rows,
        totals=tuple(f"{usage.totals[kind]:,}" for kind in USAGE_TYPES),
        tiers=_build_tiers(estimate),
        members=_build_members(estimate, account),
        events=tuple(EventRow(event, f"{event.value:,}") for event in _choose_events(usage.events)),
        more_events=max(0, len(usage.events) - EVENTS_SHOWN),
        states=_count_states(usage),
        true_ups=_build_true_ups(account, period),
        groups=explain_estimate(estimate),
        total=format_minor(estimate.total_minor, estimate.currency),
        billed="" if billed is None else format_minor(billed, estimate.currency),
        difference="" if billed is None else format_minor(billed - estimate.total_minor, estimate.currency),
        comparison=_compare(estimate),
        is_over=estimate.is_over,
        bills_at_stripe=estimate.biller == Biller.STRIPE,
        window=_read_window(account, estimate.payer, period),
    )


def _read_window(account: Account, payer: Account, period: Period) -> WindowRow:
    completion = get_completion(account.pk, period)
    hold = DraftHold.objects.filter(account=payer, period=str(period)).order_by("-drafted_at", "-pk").first()
    return WindowRow(
        completed_by=completion.declared_by if completion else "",
        completed_at=completion.declared_at if completion else None,
        covers_all=completion is not None and completion.account_id is None,
        hold=hold,
        reasons=tuple(hold.reasons) if hold and hold.state in OPEN_STATES else (),
    )


def _compare(estimate: Estimate) -> str:
    """Usage is billed after the month: before that invoice, less than the estimate is no difference."""
    if estimate.billed_minor is None:
        return ""
    if estimate.billed_minor == estimate.total_minor:
        return "even"
    return "apart" if estimate.is_billed else ""


def _build_charts(usage: PeriodUsage, estimate: Estimate) -> tuple[Chart, ...]:
    quantities: defaultdict[str, dict[date, int]] = defaultdict(dict)
    revised: defaultdict[str, set[date]] = defaultdict(set)
    for bucket in usage.buckets:
        quantities[bucket.usage_type][bucket.bucket_date] = bucket.quantity
        if len(bucket.revisions) > 1:
            revised[bucket.usage_type].add(bucket.bucket_date)
    return tuple(
        build_chart(
            usage_type=kind,
            title=TITLES[kind],
            period=usage.period,
            quantities=quantities[kind],
            revised=revised[kind],
            tiers_reached=estimate.tiers_reached,
            is_daily=usage.granularity != Granularity.MONTH,
        )
        for kind in USAGE_TYPES
        if quantities[kind]
    )


def _build_sampled(month: SampledMonth, period: Period) -> SampledRow:
    chart = build_chart(
        usage_type=month.event_name,
        title=month.title,
        period=period,
        quantities={day: int(quantity) for day, quantity in month.days.items()},
        revised=(),
        tiers_reached=(),
        is_daily=True,
    )
    return SampledRow(
        title=month.title,
        event_name=month.event_name,
        quantity=f"{month.quantity:,.3f}",
        billed=month.billed,
        is_complete=month.is_complete,
        # Bars are whole units of each day; their sum would lose the days' fractions.
        chart=replace(chart, total=f"{month.quantity:,.3f}"),
    )


def _build_buckets(usage: PeriodUsage) -> tuple[BucketRow, ...]:
    by_date: defaultdict[date, dict[str, BucketUsage]] = defaultdict(dict)
    for bucket in usage.buckets:
        by_date[bucket.bucket_date][bucket.usage_type] = bucket
    return tuple(
        BucketRow(
            bucket=format_bucket(day, usage.granularity or Granularity.DAY),
            quantities=tuple(f"{held[kind].quantity:,}" if kind in held else "" for kind in USAGE_TYPES),
            restatements=tuple(
                _restate(record)
                for kind in USAGE_TYPES
                if kind in held
                for record in held[kind].revisions[1:]
            ),
            is_rolled_up=all(bucket.is_rolled_up for bucket in held.values()),
        )
        for day, held in sorted(by_date.items())
    )


def _restate(record: UsageRecord) -> Restatement:
    return Restatement(
        usage_type=record.usage_type,
        change=f"{record.delta:+,}",
        quantity=f"{record.quantity:,}",
        reason=record.reason,
        author=record.author,
        received_at=record.received_at,
    )


def _build_tiers(estimate: Estimate) -> tuple[TierRow, ...]:
    reached = {(tier.usage_type, tier.tier_index): tier for tier in estimate.tiers_reached}
    used = {line.kind for line in estimate.lines}
    rows = []
    for kind in USAGE_TYPES:
        tiers = estimate.terms[estimate.payer.pk].tiers.get(kind, ())
        for index in range(len(tiers)):
            passed = reached.get((kind, index))
            is_reached = passed is not None or (index == 0 and kind in used)
            when = (
                f"on {passed.reached_on}"
                if passed and passed.reached_on
                else "yes"
                if is_reached
                else "not yet"
            )
            rows.append(TierRow(kind, describe_tier(tiers, index), when, is_reached))  # fmt: skip
    return tuple(rows)


def _build_members(estimate: Estimate, account: Account) -> tuple[MemberRow, ...]:
    if len(estimate.members) == 1:
        return ()
    return tuple(
        MemberRow(
            account_id=member.pk,
            name=member.name,
            quantities=tuple(f"{estimate.usage[member.pk][kind]:,}" for kind in USAGE_TYPES),
            is_this=member.pk == account.pk,
        )
        for member in estimate.members
    )


def _build_true_ups(account: Account, period: Period) -> tuple[TrueUpRow, ...]:
    found = list(list_true_ups_of(account.pk, period))
    invoices = find_invoices(found)
    return tuple(
        TrueUpRow(
            true_up=true_up,
            amount=format_minor(true_up.amount_minor, true_up.currency),
            tone=TRUE_UP_TONES.get(TrueUpState(true_up.state), ""),
            invoice=str(invoices.get(true_up.pk, "")),
        )
        for true_up in found
    )


def _choose_events(events: Sequence[MeterEvent]) -> Sequence[MeterEvent]:
    """The events that are shown: all, or where that is too many those first that wait for someone."""
    if len(events) <= EVENTS_SHOWN:
        return events
    order = {state: number for number, state in enumerate(STATE_TONES)}
    return sorted(events, key=lambda event: order[EventState(event.state)])[:EVENTS_SHOWN]


def _count_states(usage: PeriodUsage) -> tuple[StateCount, ...]:
    counts: defaultdict[str, int] = defaultdict(int)
    for event in usage.events:
        counts[event.state] += 1
    return tuple(
        StateCount(state.label, tone, counts[state]) for state, tone in STATE_TONES.items() if counts[state]
    )
