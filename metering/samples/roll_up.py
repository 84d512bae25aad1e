"""Samples become meter events in two steps, each safe to kill anywhere and to run twice at once.

*Fold*: whole batches are claimed, their parts are added to the buckets by the database itself, and exactly these
batches are marked, in one transaction. *Close*: the buckets of an account's month that ended long enough ago become
meter events under the lock of its `SampleFeed`. Whole units only: the fraction is carried to the month's next bucket.
Units that are folded into a closed bucket make it open again, and its next close is a correction with a revision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog
from django.db import connection, transaction
from django.db.models import F, Min

from billing_worker.accounts.models import Account
from billing_worker.accounts.selectors import get_account, get_payer
from billing_worker.catalog.sampled.states import LENGTHS
from billing_worker.core.periods import Period
from metering.samples.clipping import HOUR, format_bucket, get_bucket_start
from metering.samples.models import MAX_BATCH, SPILLS_PER_SAMPLE, SampleBatch, SampleBucket, SampleFeed
from metering.services.ingest import retry_busy
from metering.services.roll_up import RollUpResult, find_skip_reason, get_lanes
from metering.services.seam import Seam, align_with_seam
from metering.states import EventState

log = structlog.get_logger(__name__)

#: Samples and batches folded in one transaction: seconds of work, and locks that others can wait for.
FOLD_SAMPLES = 250_000
FOLD_BATCHES = 5_000
_RANGES = 50
_FOLD = """
    INSERT INTO metering_samplebucket (feed_id, hour, units, closed_units, parts, revision, is_open)
    SELECT feed_id, hour, SUM(units), 0, COUNT(*), 0, {true} FROM {table} WHERE {ranges} GROUP BY feed_id, hour
"""
_ADD_MYSQL = """
    ON DUPLICATE KEY UPDATE metering_samplebucket.units = metering_samplebucket.units + VALUES(units),
    metering_samplebucket.parts = metering_samplebucket.parts + VALUES(parts), is_open = {true}
"""
_ADD = """
    ON CONFLICT (feed_id, hour) DO UPDATE SET units = metering_samplebucket.units + excluded.units,
    parts = metering_samplebucket.parts + excluded.parts, is_open = {true}
"""


_INSERT_EVENTS = (
    "INSERT INTO metering_meterevent (identifier, bucket, bucket_start_at, first_revision, revision, value, at,"
    " account_id, payer_id, lane_id, meter, event_name, period, state, reason, created_at, attempts, claim_token)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 0, '')"
)


@dataclass(frozen=True, slots=True)
class _EventRow:
    """What a meter event has of its own."""

    identifier: str
    bucket: str
    start: datetime
    revision: int
    value: int
    at: datetime


@dataclass(frozen=True, slots=True)
class _Closing:
    """What holds for all events of a close."""

    payer: Account | None
    skip_reason: str
    now: datetime


@dataclass(frozen=True, slots=True)
class _Fold:
    """What one transaction folded. `is_last`: nothing was left when it looked."""

    samples: int
    is_last: bool


def roll_up_samples(
    *, now: datetime, grace: timedelta, seam: Seam, period: Period | None = None
) -> Iterator[RollUpResult]:
    """Fold every batch, then close what ended `grace` ago; yields what each step did.

    `period` closes only this month's buckets; folding is never partial. Opens its own transactions.
    """
    while True:
        fold = retry_busy(partial(_fold_chunk, now))
        if fold.samples:
            yield RollUpResult(samples=fold.samples)
        if fold.is_last:
            break
    for feed_id in list_closable_feeds(now=now, grace=grace, period=period):
        yield retry_busy(partial(_close_feed, feed_id, now, grace, seam))


@transaction.atomic
def _fold_chunk(now: datetime) -> _Fold:
    # Locked and not skipped: a second roll-up waits, and then finds them marked.
    waiting = SampleBatch.objects.select_for_update().filter(folded_at__isnull=True).order_by("pk")
    rows = list(waiting.values_list("pk", "samples")[:FOLD_BATCHES])
    ids, samples = [], 0
    for pk, count in rows:
        ids.append(pk)
        samples += count
        if samples >= FOLD_SAMPLES:
            break
    ranges = _find_ranges(ids)
    for at in range(0, len(ranges), _RANGES):
        some = ranges[at : at + _RANGES]
        _add_to_buckets("metering_usagesample", some, MAX_BATCH)
        _add_to_buckets("metering_samplespill", some, MAX_BATCH * SPILLS_PER_SAMPLE)
        # Exactly the batches whose samples were added: ranges hold no id that was not claimed.
        for first, last in some:
            SampleBatch.objects.filter(pk__gte=first, pk__lte=last).update(folded_at=now)
    return _Fold(samples, len(ids) == len(rows) < FOLD_BATCHES)


def _find_ranges(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending ids as inclusive ranges without a gap: what is missing may be under way in another transaction."""
    ranges: list[tuple[int, int]] = []
    for number in ids:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def _add_to_buckets(table: str, ranges: Sequence[tuple[int, int]], width: int) -> None:
    """Add up the rows of these batches by bucket, in the database."""
    is_mysql = connection.vendor == "mysql"
    statement = _FOLD + (_ADD_MYSQL if is_mysql else _ADD)
    conditions = " OR ".join(["(id >= %s AND id < %s)"] * len(ranges))
    bounds = [bound for first, last in ranges for bound in (first * width, (last + 1) * width)]
    with connection.cursor() as cursor:
        cursor.execute(statement.format(true="TRUE", table=table, ranges=conditions), bounds)


def list_closable_feeds(*, now: datetime, grace: timedelta, period: Period | None = None) -> list[int]:
    """The months that hold ended buckets with units in no meter event yet, by id."""
    rows = SampleBucket.objects.filter(is_open=True, feed__period__lte=str(Period.of(now - grace)))
    if period is not None:
        rows = rows.filter(feed__period=str(period))
    # The first open bucket decides, and is found in the database: a month of hours is many rows.
    found = rows.order_by().values_list("feed_id", "feed__period", "feed__tier__meter__bucket")
    return sorted(
        feed_id
        for feed_id, month, bucket, hour in found.annotate(first=Min("hour"))
        if hour <= _get_last_hour(Period.parse(month), LENGTHS[bucket], now, grace)
    )


def _get_last_hour(period: Period, bucket: timedelta, now: datetime, grace: timedelta) -> int:
    """The last first hour of a bucket that is closed: it ended `grace` ago."""
    return (now - grace - bucket - period.start_at) // HOUR


@transaction.atomic
def _close_feed(feed_id: int, now: datetime, grace: timedelta, seam: Seam) -> RollUpResult:
    feed = SampleFeed.objects.select_for_update().get(pk=feed_id)
    meter, period = feed.tier.meter, Period.parse(feed.period)
    last_hour = _get_last_hour(period, LENGTHS[meter.bucket], now, grace)
    buckets = list(
        SampleBucket.objects.select_for_update()
        .filter(feed=feed, is_open=True, hour__lte=last_hour)
        .order_by("hour")
    )
    account = get_account(feed.account_id)
    skip_reason, payer = find_skip_reason(account, period), get_payer(account)
    events = []
    for bucket in buckets:
        feed.units += bucket.units - bucket.closed_units
        value = feed.units // meter.units_per_billed - feed.billed
        if value:
            feed.billed += value
            events.append(_describe_event(feed, period, bucket, value))
    _insert_events(feed, events, _Closing(payer, skip_reason, now))
    SampleBucket.objects.filter(pk__in=[bucket.pk for bucket in buckets]).update(
        closed_units=F("units"), revision=F("revision") + 1, is_open=False
    )
    feed.save(update_fields=["units", "billed"])
    if events:
        align_with_seam(seam=seam, account_id=feed.account_id, period=feed.period)
    skipped = len(events) if skip_reason else 0
    return RollUpResult(
        months=1,
        events=len(events),
        skipped=skipped,
        without_customer=0 if payer or skipped else len(events),
        reasons={skip_reason: skipped} if skipped else {},
    )


def _describe_event(feed: SampleFeed, period: Period, bucket: SampleBucket, value: int) -> _EventRow:
    length = LENGTHS[feed.tier.meter.bucket]
    start = get_bucket_start(period, bucket.hour)
    name = format_bucket(start, length)
    identifier = f"{feed.account_id}:{name}:{feed.tier.event_name}"
    return _EventRow(
        identifier=f"{identifier}:{bucket.revision}" if bucket.revision else identifier,
        bucket=name,
        start=start,
        revision=bucket.revision,
        value=value,
        at=start + length / 2,
    )


def _insert_events(feed: SampleFeed, events: Sequence[_EventRow], closing: _Closing) -> None:
    """Past the ORM, which took longer over an event than the database over all the samples in it.

    They begin in shadow; the seam then says which are to be sent. Inside the caller's transaction.
    """
    if not events:
        return
    payer, event_name = closing.payer, feed.tier.event_name
    lane = None
    if payer is not None and payer.stripe_customer_id:
        lane = get_lanes(payer.stripe_customer_id, [event_name])[event_name].pk
    adapt = connection.ops.adapt_datetimefield_value
    state = EventState.SKIPPED if closing.skip_reason else EventState.SHADOW
    shared = (
        *(feed.account_id, payer.pk if payer else None, lane, event_name, event_name, feed.period),
        *(state.value, closing.skip_reason, adapt(closing.now)),
    )
    rows = [
        (
            *(event.identifier, event.bucket, adapt(event.start), event.revision, event.revision),
            *(event.value, adapt(event.at), *shared),
        )
        for event in events
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT_EVENTS, rows)
