"""Samples are deleted once they are old and in their buckets. What they came to stays: buckets, months, meter events.

An event id is what tells a repeat, and it goes with its row. So time is closed first: a horizon is set, samples that
end before it are refused from then on, and rows are deleted only when it has stood for `SETTLE`, longer than any
request that had not seen it can run.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Max, QuerySet

from billing_worker.core.errors import InvalidInput
from metering.samples.models import (
    MAX_BATCH,
    SPILLS_PER_SAMPLE,
    SampleBatch,
    SampleHorizon,
    SampleSpill,
    UsageSample,
)
from metering.samples.parsing import FIRST_INSTANT, MAX_AHEAD
from metering.services.ingest import retry_busy

#: Stripe takes usage of the last 35 days: younger samples can still become meter events.
MIN_KEEP: Final = timedelta(days=40)
SETTLE: Final = timedelta(hours=1)
#: How far the horizon may move past what the newest sample bears out.
BORNE_OUT_FOR: Final = timedelta(days=2)
#: Batches in one transaction: at most so many thousand samples.
CHUNK: Final = 50


class KeptTooShort(InvalidInput):
    """Samples have to be kept for as long as they can still be billed. Keep them for 40 days at least."""

    code = "kept_too_short"


def get_horizon() -> datetime | None:
    """Samples that end before this are refused."""
    found: datetime | None = SampleHorizon.objects.aggregate(at=Max("before_at"))["at"]
    return found


def set_horizon(*, keep: timedelta, now: datetime) -> datetime:
    """Refuse samples that end more than `keep` ago from now on; the day (UTC) counts whole. It never goes back.

    Therefore one clock is not believed alone: samples that came lately, to whichever machine, have to bear it out.
    While none come the horizon stays where it is, and nothing is deleted.

    Raises:
        KeptTooShort: less than `MIN_KEEP`.
    """
    if keep < MIN_KEEP:
        raise KeptTooShort(
            f"samples are kept for {MIN_KEEP.days} days at least", fields={"keep_days": ["is too short"]}
        )
    held = get_horizon() or FIRST_INSTANT
    newest = SampleBatch.objects.order_by("-pk").values_list("received_at", flat=True).first()
    if newest is None:
        return held
    before = (min(now, newest + BORNE_OUT_FOR) - keep).replace(hour=0, minute=0, second=0, microsecond=0)
    if held >= before:
        return held
    SampleHorizon.objects.get_or_create(before_at=before, defaults={"set_at": now})
    return before


def select_prunable(now: datetime) -> QuerySet[SampleBatch]:
    """Folded batches of which every sample ends before a horizon that has stood for `SETTLE`, oldest first.

    A sample ends at most `MAX_AHEAD` after it was received.
    """
    settled = SampleHorizon.objects.filter(set_at__lte=now - SETTLE).aggregate(at=Max("before_at"))["at"]
    if settled is None:
        return SampleBatch.objects.none()
    return SampleBatch.objects.filter(folded_at__isnull=False, received_at__lt=settled - MAX_AHEAD).order_by(
        "pk"
    )


def prune_samples(*, now: datetime) -> Iterator[int]:
    """Delete what `select_prunable` finds, some batches at a time; yields how many samples each step deleted.

    Opens its own transactions; safe to kill anywhere and to run twice at once.
    """
    while (deleted := retry_busy(lambda: _prune_chunk(now))) is not None:
        yield deleted


@transaction.atomic
def _prune_chunk(now: datetime) -> int | None:
    batches = list(select_prunable(now).select_for_update().values_list("pk", flat=True)[:CHUNK])
    if not batches:
        return None
    deleted = 0
    for pk in batches:
        first, end = pk * MAX_BATCH, (pk + 1) * MAX_BATCH
        SampleSpill.objects.filter(pk__gte=first * SPILLS_PER_SAMPLE, pk__lt=end * SPILLS_PER_SAMPLE).delete()
        deleted += UsageSample.objects.filter(pk__gte=first, pk__lt=end).delete()[0]
    SampleBatch.objects.filter(pk__in=batches).delete()
    return deleted
