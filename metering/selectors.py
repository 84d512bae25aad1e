"""Reads about usage: what is held, what was sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime

from django.db.models import Count, Sum

from billing_worker.core.periods import Period
from billing_worker.core.rating import USAGE_TYPES, UsageType
from metering.models import MeterEvent, UsageFeed, UsageRecord
from metering.samples.selectors import SampledMonth, count_open_samples, list_sampled_months
from metering.states import EventState
from metering.true_ups.models import TrueUp
from metering.true_ups.states import OPEN_STATES, WAITING_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketUsage:
    """One bucket and type: every statement, oldest first, and the quantity in force."""

    bucket_date: date
    usage_type: str
    quantity: int
    revisions: tuple[UsageRecord, ...]

    @property
    def is_rolled_up(self) -> bool:
        return all(record.rolled_up_at for record in self.revisions)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodUsage:
    """An account's month of usage. `granularity` is None while nothing is held."""

    account_id: int
    period: Period
    granularity: str | None
    totals: dict[UsageType, int]
    buckets: tuple[BucketUsage, ...]
    events: tuple[MeterEvent, ...]
    sampled: tuple[SampledMonth, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingState:
    """Whether an account's usage of a month has all reached Stripe. `open_records` counts samples' parts too."""

    is_complete: bool
    open_records: int
    open_events: int
    oldest_open_at: datetime | None


def get_usage_totals(account_id: int, period: Period) -> dict[UsageType, int]:
    """The quantities in force for the account's month; every type is in the answer, 0 where nothing is held."""
    return get_period_totals(period, account_ids=[account_id]).get(account_id, dict.fromkeys(USAGE_TYPES, 0))


def get_period_totals(
    period: Period, *, account_ids: Collection[int] | None = None
) -> dict[int, dict[UsageType, int]]:
    """`get_usage_totals` of many accounts (default: all that hold usage) in one query, by account id."""
    records = UsageRecord.objects.filter(feed__period=str(period))
    if account_ids is not None:
        records = records.filter(feed__account__in=account_ids)
    totals: defaultdict[int, dict[UsageType, int]] = defaultdict(lambda: dict.fromkeys(USAGE_TYPES, 0))
    rows = records.order_by().values_list("feed__account_id", "usage_type").annotate(total=Sum("delta"))
    for account_id, usage_type, total in rows:
        totals[account_id][usage_type] = total
    return dict(totals)


def get_period_usage(account_id: int, period: Period) -> PeriodUsage:
    """Everything held for the account's month: buckets with their revisions, and the meter events made of them."""
    feed = UsageFeed.objects.filter(account=account_id, period=str(period)).first()
    groups: defaultdict[tuple[date, str], list[UsageRecord]] = defaultdict(list)
    if feed is not None:
        for record in UsageRecord.objects.filter(feed=feed).order_by("bucket_date", "usage_type", "revision"):
            groups[record.bucket_date, record.usage_type].append(record)
    buckets = tuple(
        BucketUsage(bucket_date=day, usage_type=kind, quantity=rows[-1].quantity, revisions=tuple(rows))
        for (day, kind), rows in groups.items()
    )
    events = MeterEvent.objects.filter(account=account_id, period=str(period)).select_related("lane")
    return PeriodUsage(
        account_id=account_id,
        period=period,
        granularity=feed.granularity if feed else None,
        totals=get_usage_totals(account_id, period),
        buckets=buckets,
        events=tuple(events.order_by("bucket", "meter", "revision")),
        sampled=tuple(list_sampled_months(account_id, period)),
    )


def get_daily_units(
    customer: str, *, start_at: datetime, end_at: datetime
) -> dict[UsageType, tuple[int, ...]]:
    """What Stripe counted for a customer on each day (UTC) of `[start_at, end_at)`, by usage type: what was sent.

    Both bounds are midnights. Types of which nothing was sent are left out. Empty where a month was told as a whole:
    nobody knows its days then.
    """
    sent = MeterEvent.objects.filter(
        lane__customer=customer,
        meter__in=USAGE_TYPES,
        state=EventState.SENT,
        bucket_start_at__gte=start_at,
        bucket_start_at__lt=end_at,
    )
    rows = sent.order_by().values_list("meter", "bucket").annotate(total=Sum("value"))
    count = (end_at - start_at).days
    found: dict[str, list[int]] = {}
    for meter, bucket, total in rows:
        if len(bucket) != len("2026-10-05"):
            return {}
        day = (date.fromisoformat(bucket) - start_at.date()).days
        found.setdefault(meter, [0] * count)[day] = total
    return {kind: tuple(found[kind]) for kind in USAGE_TYPES if kind in found}


def count_events_by_state(period: Period | None = None) -> dict[str, int]:
    """How many meter events are in each state that any is in."""
    events = MeterEvent.objects.all() if period is None else MeterEvent.objects.filter(period=str(period))
    rows = events.order_by().values_list("state").annotate(count=Count("pk"))
    return {str(state): count for state, count in rows}


def get_sending_state(account_ids: Collection[int], period: Period) -> SendingState:
    """Whether everything that these accounts used in the month is rolled up and sent (or kept back for good)."""
    open_records = UsageRecord.objects.filter(
        feed__account__in=account_ids, feed__period=str(period), rolled_up_at__isnull=True
    ).count()
    open_samples = count_open_samples(account_ids=account_ids, period=period)
    open_events = MeterEvent.objects.filter(
        account__in=account_ids,
        period=str(period),
        state__in=[EventState.PENDING, EventState.SENDING, EventState.UNRESOLVED],
    ).order_by("at")
    oldest = open_events.values_list("at", flat=True).first()
    count = open_events.count()
    return SendingState(
        is_complete=not open_records and not open_samples and not count,
        open_records=open_records + open_samples,
        open_events=count,
        oldest_open_at=oldest,
    )


def count_unsettled_usage(period: Period, *, account_ids: Collection[int]) -> int:
    """How much of these accounts' month is not with Stripe and not waived either, in usage records and meter events.

    Stricter than `get_sending_state`: what is kept in shadow, was refused or is too old, and a true-up that nobody has
    decided or carried out, also still waits for someone.
    """
    records = UsageRecord.objects.filter(
        feed__account__in=account_ids, feed__period=str(period), rolled_up_at__isnull=True
    )
    events = MeterEvent.objects.filter(account__in=account_ids, period=str(period)).exclude(
        state__in=[EventState.SENT, EventState.SKIPPED]
    )
    samples = count_open_samples(account_ids=account_ids, period=period)
    true_ups = TrueUp.objects.filter(
        account__in=account_ids, period=str(period), state__in=[*WAITING_STATES, *OPEN_STATES]
    )
    return records.count() + samples + events.count() + true_ups.count()
