"""Reads about samples: what is not in meter events yet, and how much a month holds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Count, Min, Q, QuerySet, Sum

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
    """An account's month on a tier: exact quantity in billed units, and how much is in meter events.

    `quantity` holds everything that was folded; closed buckets' share of it is billed in whole units.
    """

    event_name: str
    title: str
    quantity: Decimal
    billed: int
    is_complete: bool


def count_open_samples(
    *,
    account_ids: Collection[int] | None = None,
    period: Period | None = None,
    until: datetime | None = None,
) -> int:
    """How many parts of samples and buckets are in no meter event yet: of these accounts, this month, before `until`.

    What waits is never left out. What was folded while an older batch still waits may be counted a little longer.
    """
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
    waiting = 0
    if first is not None:
        waiting += UsageSample.objects.filter(chosen, pk__gte=first * MAX_BATCH).count()
        waiting += SampleSpill.objects.filter(chosen, pk__gte=first * MAX_BATCH * SPILLS_PER_SAMPLE).count()
    return waiting + SampleBucket.objects.filter(chosen, is_open=True).count()


def list_sampled_months(account_id: int, period: Period) -> list[SampledMonth]:
    """What the account's sampled meters hold of the month, by event name."""
    feeds = (
        SampleFeed.objects.filter(account=account_id, period=str(period))
        .select_related("tier__meter")
        .annotate(total=Sum("buckets__units"), open=Count("buckets", filter=Q(buckets__is_open=True)))
        .order_by("tier__event_name")
    )
    return [
        SampledMonth(
            event_name=feed.tier.event_name,
            title=feed.tier.title,
            quantity=Decimal(feed.total or 0) / feed.tier.meter.units_per_billed,
            billed=feed.billed,
            is_complete=not feed.open,
        )
        for feed in feeds
    ]
