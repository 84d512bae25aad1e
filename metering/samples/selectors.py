"""Reads about samples: what is not in meter events yet, and how much a month holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db.models import Count, Min, Q, QuerySet

from billing_worker.core.periods import Period
from metering.samples.clipping import HOUR
from metering.samples.models import (
    MAX_BATCH,
    SPILLS_PER_SAMPLE,
    SampleBatch,
    SampleBucket,
    SampleFeed,
    SampleSpill,
    UsageSample,
)

Rows = QuerySet[UsageSample] | QuerySet[SampleSpill] | QuerySet[SampleBucket]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledMonth:
    """An account's month on a tier, in billed units: the exact quantity, by day (UTC), and how much is in meter events.

    `quantity` and `days` hold everything that was folded; closed buckets' share of it is billed in whole units.
    """

    event_name: str
    title: str
    quantity: Decimal
    billed: int
    is_complete: bool
    days: Mapping[date, Decimal]


def count_open_samples(
    *,
    account_ids: Collection[int] | None = None,
    period: Period | None = None,
    until: datetime | None = None,
) -> int:
    """How many parts of samples and buckets are in no meter event yet: of these accounts, this month, before `until`.

    What waits is never left out. What was folded while an older batch still waits may be counted a little longer.
    """
    return sum(rows.count() for rows in _select_open(account_ids=account_ids, period=period, until=until))


def count_open_samples_by_account(*, account_ids: Collection[int], period: Period) -> dict[int, int]:
    """`count_open_samples` of a month for each account that has any."""
    counts: Counter[int] = Counter()
    for rows in _select_open(account_ids=account_ids, period=period, until=None):
        counts.update(dict(rows.order_by().values_list("feed__account_id").annotate(count=Count("pk"))))
    return dict(counts)


def _select_open(
    *, account_ids: Collection[int] | None, period: Period | None, until: datetime | None
) -> Iterator[Rows]:
    chosen = Q()
    if account_ids is not None:
        chosen &= Q(feed__account__in=account_ids)
    if period is not None:
        chosen &= Q(feed__period=str(period))
    if until is not None:
        month = Period.of(until)
        hours = (until - month.start_at) // HOUR
        chosen &= Q(feed__period__lt=str(month)) | Q(feed__period=str(month), hour__lt=hours)
    # Batches first: what moves on between two queries is counted in the bucket that it moves to.
    first = SampleBatch.objects.filter(folded_at__isnull=True).aggregate(first=Min("pk"))["first"]
    if first is not None:
        yield UsageSample.objects.filter(chosen, pk__gte=first * MAX_BATCH)
        yield SampleSpill.objects.filter(chosen, pk__gte=first * MAX_BATCH * SPILLS_PER_SAMPLE)
    yield SampleBucket.objects.filter(chosen, is_open=True)


def list_sampled_months(account_id: int, period: Period) -> list[SampledMonth]:
    """What the account's sampled meters hold of the month, by event name."""
    feeds = (
        SampleFeed.objects.filter(account=account_id, period=str(period))
        .select_related("tier__meter")
        .prefetch_related("buckets")
        .order_by("tier__event_name")
    )
    return [_describe_month(feed, period) for feed in feeds]


def _describe_month(feed: SampleFeed, period: Period) -> SampledMonth:
    units: Counter[int] = Counter()
    for bucket in feed.buckets.all():
        units[bucket.hour // 24] += bucket.units
    size = feed.tier.meter.units_per_billed
    return SampledMonth(
        event_name=feed.tier.event_name,
        title=feed.tier.title,
        quantity=Decimal(units.total()) / size,
        billed=feed.billed,
        is_complete=not any(bucket.is_open for bucket in feed.buckets.all()),
        days={
            period.start_date + timedelta(days=day): Decimal(held) / size
            for day, held in sorted(units.items())
        },
    )
