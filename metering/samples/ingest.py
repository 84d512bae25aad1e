"""Samples in: stored as told, each event id at most once.

The unique event id decides races: a batch is first inserted whole; when an id is already held, the held ones are looked
up, told apart, and the rest is inserted. The batch's row is committed with its samples or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from django.db import IntegrityError, connection, transaction

from billing_worker.accounts.models import Account
from billing_worker.catalog.sampled.models import SampledMeter
from billing_worker.catalog.sampled.selectors import SampledPlans
from billing_worker.catalog.sampled.states import LENGTHS, SampledQuantity
from metering.parsing import FieldErrors
from metering.samples.clipping import clip_interval
from metering.samples.models import MAX_BATCH, SPILLS_PER_SAMPLE, SampleBatch, SampleFeed, UsageSample
from metering.samples.parsing import SampleInput
from metering.samples.pruning import get_horizon
from metering.services.ingest import retry_busy

_INSERT_SAMPLES = (
    "INSERT INTO metering_usagesample (id, event_id, feed_id, hour, units, at, interval_ms, memory_mb, milli_cpus)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
_INSERT_SPILLS = "INSERT INTO metering_samplespill (id, feed_id, hour, units) VALUES (%s, %s, %s, %s)"

FeedKey = tuple[int, int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOutcome:
    """What became of one sample. `held` is what an earlier sample of the same id says, if it says otherwise."""

    status: Literal["accepted", "duplicate", "conflict", "invalid"]
    message: str = ""
    fields: FieldErrors | None = None
    held: dict[str, Any] | None = None


ACCEPTED = SampleOutcome(status="accepted")
DUPLICATE = SampleOutcome(status="duplicate")


@dataclass(frozen=True, slots=True)
class _Placed:
    """A sample with the buckets that it counts in: tier, month, first hour, smallest units."""

    sample: SampleInput
    parts: tuple[tuple[int, str, int, int], ...]


def store_samples(*, samples: Sequence[SampleInput], now: datetime) -> list[SampleOutcome]:
    """Store at most 1,000 samples; one outcome for each, in order. A refused sample never costs another.

    The same event id with the same content is a `duplicate`, with other content a `conflict`. A sample of an account
    without a plan for its meter in that month is `invalid`. Opens its own transaction.

    Raises:
        StoreBusy: the database kept giving the transaction up for others; nothing was stored.
    """
    assert len(samples) <= MAX_BATCH
    outcomes: list[SampleOutcome | None] = [None] * len(samples)
    first: dict[str, int] = {}
    for position, sample in enumerate(samples):
        earlier = first.setdefault(sample.event_id, position)
        if earlier != position:
            outcomes[position] = _compare(sample, samples[earlier])
    placed: dict[int, _Placed] = {}
    for position, found in _place([(p, samples[p]) for p in first.values()]):
        if isinstance(found, SampleOutcome):
            outcomes[position] = found
        else:
            placed[position] = found
    for position, outcome in _store(placed, now).items():
        outcomes[position] = outcome
    return [_follow(outcome, samples, outcomes, first, p) for p, outcome in enumerate(outcomes)]


def _follow(
    outcome: SampleOutcome | None,
    samples: Sequence[SampleInput],
    outcomes: Sequence[SampleOutcome | None],
    first: dict[str, int],
    position: int,
) -> SampleOutcome:
    """A repeat within the batch shares the fate of the first of its id, unless that one was taken."""
    assert outcome is not None
    leader = outcomes[first[samples[position].event_id]]
    if outcome is DUPLICATE and leader is not None and leader.status in ("invalid", "conflict"):
        return leader
    return outcome


def _compare(sample: SampleInput, held: SampleInput) -> SampleOutcome:
    if sample == held:
        return DUPLICATE
    return SampleOutcome(
        status="conflict",
        message=f"event {sample.event_id} was told with other content: a sample is never changed",
        fields={"event_id": ["is held with other content"]},
        held=held.describe(),
    )


def _place(
    samples: Sequence[tuple[int, SampleInput]],
) -> Iterable[tuple[int, _Placed | SampleOutcome]]:
    """Find each sample's tier in our own records, and cut it at the bounds of its meter's buckets."""
    account_ids = {sample.account_id for _, sample in samples}
    known = set(Account.objects.filter(pk__in=account_ids).values_list("pk", flat=True))
    meters = {meter.name: meter for meter in SampledMeter.objects.all()}
    plans, horizon = SampledPlans(known), get_horizon()
    for position, sample in samples:
        meter = meters.get(sample.meter)
        if horizon is not None and sample.at < horizon:
            yield (
                position,
                _refuse("at", f"lies before {horizon:%Y-%m-%d}: samples of that time are not kept any more"),
            )
        elif sample.account_id not in known:
            yield position, _refuse("account_id", "is not a known account")
        elif meter is None:
            yield position, _refuse("meter", "is not a known meter")
        else:
            yield position, _place_one(sample, meter, LENGTHS[meter.bucket], plans)


def _place_one(
    sample: SampleInput, meter: SampledMeter, bucket: timedelta, plans: SampledPlans
) -> _Placed | SampleOutcome:
    is_memory = meter.quantity == SampledQuantity.GB_SECONDS
    rate = sample.memory_mb if is_memory else sample.milli_cpus
    parts = []
    for part in clip_interval(at=sample.at, interval_ms=sample.interval_ms, bucket=bucket):
        tier_id = plans.find(sample.account_id, meter.pk, part.period)
        if tier_id is None:
            return _refuse("account_id", f"has no plan for {meter.name} in {part.period}")
        parts.append((tier_id, part.period, part.hour, rate * part.milliseconds))
    return _Placed(sample, tuple(parts))


def _refuse(field: str, reason: str) -> SampleOutcome:
    return SampleOutcome(status="invalid", message="some fields are not valid", fields={field: [reason]})


def _store(placed: dict[int, _Placed], now: datetime) -> dict[int, SampleOutcome]:
    """Insert what is new. Looks at what is held only when the insert says that something is."""
    if not placed:
        return {}
    try:
        retry_busy(lambda: _insert_batch(list(placed.values()), now))
        return dict.fromkeys(placed, ACCEPTED)
    except IntegrityError:
        pass
    return retry_busy(lambda: _insert_missing(placed, now), also=IntegrityError)


def _insert_missing(placed: dict[int, _Placed], now: datetime) -> dict[int, SampleOutcome]:
    held = _read_held([one.sample.event_id for one in placed.values()])
    outcomes = {
        position: _compare(one.sample, held[one.sample.event_id]) if one.sample.event_id in held else ACCEPTED
        for position, one in placed.items()
    }
    if missing := [placed[position] for position, outcome in outcomes.items() if outcome is ACCEPTED]:
        _insert_batch(missing, now)
    return outcomes


def _read_held(event_ids: Sequence[str]) -> dict[str, SampleInput]:
    rows = UsageSample.objects.filter(event_id__in=event_ids).values_list(
        *("event_id", "feed__account_id", "feed__tier__meter__name", "at"),
        *("interval_ms", "memory_mb", "milli_cpus"),
    )
    return {row[0]: SampleInput(*row) for row in rows}


@transaction.atomic
def _insert_batch(placed: Sequence[_Placed], now: datetime) -> None:
    feeds = _ensure_feeds(placed)
    batch = SampleBatch.objects.create(received_at=now, samples=len(placed))
    adapt = connection.ops.adapt_datetimefield_value
    samples, spills = [], []
    # In one order everywhere, so that two requests with the same ids wait for each other and don't deadlock.
    ordered = sorted(placed, key=lambda one: one.sample.event_id)
    for number, one in enumerate(ordered, start=batch.pk * MAX_BATCH):
        told = one.sample
        for index, (tier_id, period, hour, units) in enumerate(one.parts):
            feed = feeds[told.account_id, tier_id, period]
            if index:
                spills.append((number * SPILLS_PER_SAMPLE + index, feed, hour, units))
                continue
            at = adapt(told.at)
            samples.append(
                (
                    number,
                    told.event_id,
                    feed,
                    hour,
                    units,
                    at,
                    told.interval_ms,
                    told.memory_mb,
                    told.milli_cpus,
                )
            )
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT_SAMPLES, samples)
        if spills:
            cursor.executemany(_INSERT_SPILLS, spills)


def _ensure_feeds(placed: Iterable[_Placed]) -> dict[FeedKey, int]:
    """The months of these samples, made where new."""
    wanted = {(one.sample.account_id, tier, period) for one in placed for tier, period, _, _ in one.parts}
    found = _read_feeds(wanted)
    if missing := sorted(wanted - found.keys()):
        SampleFeed.objects.bulk_create(
            [SampleFeed(account_id=key[0], tier_id=key[1], period=key[2]) for key in missing],
            ignore_conflicts=True,
        )
        found |= _read_feeds(set(missing))
    return found


def _read_feeds(keys: set[FeedKey]) -> dict[FeedKey, int]:
    rows = SampleFeed.objects.filter(
        account__in={key[0] for key in keys}, period__in={key[2] for key in keys}
    ).values_list("account_id", "tier_id", "period", "pk")
    return {key: pk for account, tier, period, pk in rows if (key := (account, tier, period)) in keys}
