"""What samples add up to, for those who bill or compare it: straight from buckets, closed or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from django.db.models import Sum

from billing_worker.catalog.sampled.charging import provides_sampled_units
from billing_worker.core.periods import Period
from metering.samples.models import SampleFeed


@provides_sampled_units
def read_units(period: Period, account_ids: Collection[int]) -> dict[tuple[int, str], int]:
    """Whole units by account and event name: what Stripe is told once every bucket is closed."""
    feeds = SampleFeed.objects.filter(account__in=account_ids, period=str(period)).select_related(
        "tier__meter"
    )
    totals: defaultdict[tuple[int, str], int] = defaultdict(int)
    for feed in feeds.annotate(held=Sum("buckets__units")).order_by("pk"):
        whole = (feed.held or 0) // feed.tier.meter.units_per_billed
        totals[feed.account_id, feed.tier.event_name] += whole
    return dict(totals)
