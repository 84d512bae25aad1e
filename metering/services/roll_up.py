"""Roll-up: what was told about closed buckets becomes meter events.

Deterministic and incremental: an event covers a range of revisions of one bucket and is named for the last one, so the
same records give the same events whenever and however often this runs. Each account's month is one transaction under
the lock of its `UsageFeed`; exactly the records that were added up are marked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet

from billing_worker.accounts.models import Account
from billing_worker.accounts.selectors import get_account, get_billing_account, get_payer, get_terms
from billing_worker.catalog.keys import EVENT_NAMES
from billing_worker.core.periods import Period
from metering.buckets import format_bucket, get_bucket_start, get_event_time, get_first_open_date
from metering.models import MeterEvent, SendingLane, UsageFeed, UsageRecord
from metering.services.ingest import retry_busy
from metering.services.seam import Seam, align_with_seam
from metering.states import EventState, Granularity

log = structlog.get_logger(__name__)

INSERT_CHUNK = 500


@dataclass(slots=True, kw_only=True)
class RollUpResult:
    """What a run did: months looked at, records and samples marked, events made; `skipped` are never billed.

    `without_customer` counts events that wait for the account (or its parent) to get a Stripe customer.
    """

    months: int = 0
    records: int = 0
    events: int = 0
    skipped: int = 0
    without_customer: int = 0
    samples: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Context:
    """What holds for an account's whole month."""

    feed: UsageFeed
    payer: Account | None
    skip_reason: str


def roll_up_usage(
    *, now: datetime, grace: timedelta, seam: Seam, period: Period | None = None
) -> Iterator[RollUpResult]:
    """Roll up every closed bucket with new statements, a month of an account at a time; yields the result so far.

    A bucket closes `grace` after its end (UTC). Opens its own transactions; killed anywhere, it loses and doubles
    nothing. Safe to run twice at once.
    """
    result = RollUpResult()
    first_open_date = get_first_open_date(now, grace)
    for feed_id in list_open_feeds(first_open_date, period):
        add_result(result, retry_busy(partial(_roll_up_feed, feed_id, first_open_date, seam, now)))
        yield result
    log.info(
        "usage_rolled_up",
        months=result.months,
        records=result.records,
        events=result.events,
        skipped=result.skipped,
    )


def list_open_feeds(first_open_date: object, period: Period | None) -> list[int]:
    """The months that hold closed buckets with statements not yet rolled up, by id."""
    feeds = _closed(UsageRecord.objects.filter(rolled_up_at__isnull=True), first_open_date)
    if period is not None:
        feeds = feeds.filter(feed__period=str(period))
    return sorted(feeds.order_by().values_list("feed_id", flat=True).distinct())


def _closed(records: QuerySet[UsageRecord], first_open_date: object) -> QuerySet[UsageRecord]:
    """Records whose bucket ended before the first open date; a month ends with its last day."""
    month = str(first_open_date)[:7]
    return records.filter(
        Q(feed__granularity=Granularity.DAY, bucket_date__lt=first_open_date)
        | Q(feed__granularity=Granularity.MONTH, feed__period__lt=month)
    )


@transaction.atomic
def _roll_up_feed(feed_id: int, first_open_date: object, seam: Seam, now: datetime) -> RollUpResult:
    feed = UsageFeed.objects.select_for_update().get(pk=feed_id)
    records = list(
        _closed(UsageRecord.objects.filter(feed=feed, rolled_up_at__isnull=True), first_open_date).order_by(
            "bucket_date", "usage_type", "revision"
        )
    )
    if not records:
        return RollUpResult(months=1)
    account = get_account(feed.account_id)
    context = _Context(feed, get_payer(account), find_skip_reason(account, Period.parse(feed.period)))
    events = _build_events(context, records, now)
    assign_lanes(events, context.payer)
    MeterEvent.objects.bulk_create(events, batch_size=INSERT_CHUNK)
    UsageRecord.objects.filter(pk__in=[record.pk for record in records]).update(rolled_up_at=now)
    align_with_seam(seam=seam, account_id=feed.account_id, period=feed.period)
    skipped = len(events) if context.skip_reason else 0
    return RollUpResult(
        months=1,
        records=len(records),
        events=len(events),
        skipped=skipped,
        without_customer=0 if context.payer or skipped else len(events),
        reasons={context.skip_reason: skipped} if skipped else {},
    )


def find_skip_reason(account: Account, period: Period) -> str:
    """Why this account's usage of the month is stored and not billed; empty if it is billed.

    The payer's tiers price the whole family's usage, so under a suspended payer nobody's is billed.
    """
    terms = get_terms(account.pk, period)
    if terms.is_suspended:
        return "account suspended: it pays the flat fee and no usage"
    if not terms.is_billable:
        return "account not open in this period"
    payer = get_billing_account(account)
    if payer.pk != account.pk and get_terms(payer.pk, period).is_suspended:
        return "payer suspended: nobody's usage on its invoice is billed"
    return ""


def _build_events(context: _Context, records: Sequence[UsageRecord], now: datetime) -> list[MeterEvent]:
    groups: defaultdict[tuple[object, str], list[UsageRecord]] = defaultdict(list)
    for record in records:
        groups[record.bucket_date, record.usage_type].append(record)
    return [
        _build_event(context, group, value, now)
        for group in groups.values()
        if (value := sum(record.delta for record in group))
    ]


def _build_event(context: _Context, group: Sequence[UsageRecord], value: int, now: datetime) -> MeterEvent:
    feed, first, last = context.feed, group[0], group[-1]
    bucket = format_bucket(first.bucket_date, feed.granularity)
    identifier = f"{feed.account_id}:{bucket}:{first.usage_type}"
    return MeterEvent(
        identifier=f"{identifier}:{last.revision}" if last.revision else identifier,
        account_id=feed.account_id,
        payer=context.payer,
        meter=first.usage_type,
        event_name=EVENT_NAMES[first.usage_type],  # type: ignore[index]
        period=feed.period,
        bucket=bucket,
        bucket_start_at=get_bucket_start(first.bucket_date),
        first_revision=first.revision,
        revision=last.revision,
        value=value,
        at=get_event_time(first.bucket_date, feed.granularity),
        state=EventState.SKIPPED if context.skip_reason else EventState.SHADOW,
        reason=context.skip_reason,
        created_at=now,
    )


def assign_lanes(events: Sequence[MeterEvent], payer: Account | None) -> None:
    """Put the events into the lanes of the payer's customer, if there is one. Inside the caller's transaction."""
    if payer is None or not payer.stripe_customer_id:
        return
    names = sorted({event.event_name for event in events})
    lanes = get_lanes(payer.stripe_customer_id, names)
    for event in events:
        event.lane = lanes[event.event_name]


def get_lanes(customer: str, event_names: Sequence[str]) -> dict[str, SendingLane]:
    """The customer's lanes by event name, made where missing."""
    found = {lane.event_name: lane for lane in _read_lanes(customer, event_names)}
    if missing := [name for name in event_names if name not in found]:
        SendingLane.objects.bulk_create(
            [SendingLane(customer=customer, event_name=name) for name in missing], ignore_conflicts=True
        )
        found = {lane.event_name: lane for lane in _read_lanes(customer, event_names)}
    return found


def _read_lanes(customer: str, event_names: Sequence[str]) -> QuerySet[SendingLane]:
    return SendingLane.objects.filter(customer=customer, event_name__in=event_names)


def add_result(total: RollUpResult, part: RollUpResult) -> None:
    """Add what a step did to what the run did."""
    total.months += part.months
    total.samples += part.samples
    total.records += part.records
    total.events += part.events
    total.skipped += part.skipped
    total.without_customer += part.without_customer
    for reason, count in part.reasons.items():
        total.reasons[reason] = total.reasons.get(reason, 0) + count
