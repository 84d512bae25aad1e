"""Usage in: statements stored as told, each at most once.

The database's unique keys decide races: a batch is first inserted whole; when any of its keys is already held, it is
done again under the locks of its months, comparing record by record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeVar

from django.db import DatabaseError, IntegrityError, connection, transaction

from billing_worker.accounts.models import Account
from billing_worker.core.errors import Unavailable
from billing_worker.deadlocks import do_again, is_undone, retry_when_undone
from metering.models import UsageFeed, UsageRecord
from metering.parsing import FieldErrors, UsageInput
from metering.states import Granularity

Status = Literal["created", "unchanged", "restated", "conflict", "invalid"]
FeedKey = tuple[int, str]
_INSERT = (
    "INSERT INTO metering_usagerecord (feed_id, bucket_date, usage_type, revision, quantity, delta, reason, author,"
    " received_at)"
)
#: Rows in one statement.
_ROWS = 1_000


class StoreBusy(Unavailable):
    """Other writers held the same months too long. Nothing of the batch was stored; send it again."""

    code = "store_busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOutcome:
    """What became of one record. `quantity` is the one in force afterwards, `held_quantity` the one before."""

    status: Status
    quantity: int | None = None
    held_quantity: int | None = None
    delta: int | None = None
    revision: int | None = None
    message: str = ""
    fields: FieldErrors = field(default_factory=dict)

    @property
    def is_refused(self) -> bool:
        return self.status in ("conflict", "invalid")


@dataclass(slots=True)
class _Held:
    revision: int
    quantity: int


_CREATED = "created"
T = TypeVar("T")


def store_usage(*, records: Sequence[UsageInput], author: str, now: datetime) -> list[RecordOutcome]:
    """Store statements of usage; one outcome for each record, in order. A refused record never costs another.

    The same key with the same quantity is `unchanged`; with another quantity it is `restated` (a new revision) if the
    record gives a reason, else a `conflict`. A month that is fed the other way (daily or monthly) is a `conflict`.
    Opens its own transaction.

    Raises:
        StoreBusy: the months stayed locked; nothing was stored.
    """
    known = set(Account.objects.filter(pk__in={r.account_id for r in records}).values_list("pk", flat=True))
    outcomes: list[RecordOutcome | None] = [
        None if record.account_id in known else _refuse_account(record) for record in records
    ]
    accepted = [record for record, outcome in zip(records, outcomes, strict=True) if outcome is None]
    stored = iter(_store_known(accepted, author, now))
    return [outcome if outcome is not None else next(stored) for outcome in outcomes]


def _refuse_account(record: UsageInput) -> RecordOutcome:
    return RecordOutcome(
        status="invalid",
        message=f"there is no account {record.account_id}",
        fields={"account_id": ["is not a known account"]},
    )


def _store_known(records: Sequence[UsageInput], author: str, now: datetime) -> list[RecordOutcome]:
    if not records:
        return []
    if len({record.key for record in records}) == len(records):
        try:
            return retry_busy(lambda: _insert_all(records, author, now))
        except IntegrityError:
            pass  # at least one key is held: compare record by record
    return retry_busy(lambda: _compare_and_store(records, author, now), also=IntegrityError)


def retry_busy(work: Callable[[], T], *, also: type[DatabaseError] | None = None) -> T:
    """Do a transaction again when the database gave it up for another one (deadlock, lock wait).

    Raises:
        StoreBusy: it was given up `ATTEMPTS` times.
    """
    try:
        return do_again(work, also=also) if also else retry_when_undone(work)()
    except DatabaseError as error:
        if not (is_undone(error) or (also and isinstance(error, also))):
            raise
        raise StoreBusy("other writers hold the same months: send the batch again") from error


@transaction.atomic
def _insert_all(records: Sequence[UsageInput], author: str, now: datetime) -> list[RecordOutcome]:
    """The common case, without a look at what is held: every key is new, or the whole insert fails."""
    feeds = _ensure_feeds(records)
    outcomes, rows = [], []
    for record in records:
        feed = feeds[record.account_id, record.period]
        if feed.granularity != record.granularity:
            outcomes.append(_refuse_granularity(record, feed))
            continue
        rows.append((feed.pk, record, 0, record.quantity))
        outcomes.append(_create(record))
    _insert(rows, author, now)
    return outcomes


@transaction.atomic
def _compare_and_store(records: Sequence[UsageInput], author: str, now: datetime) -> list[RecordOutcome]:
    feeds = _ensure_feeds(records)
    pks = sorted(feed.pk for feed in feeds.values())
    list(UsageFeed.objects.select_for_update().filter(pk__in=pks).order_by("pk").values_list("pk"))
    held = _read_held(pks, records)
    outcomes, rows = [], []
    for record in records:
        feed = feeds[record.account_id, record.period]
        if feed.granularity != record.granularity:
            outcomes.append(_refuse_granularity(record, feed))
            continue
        key = (feed.pk, record.bucket_date, record.usage_type)
        before = held.get(key)
        outcome = _create(record) if before is None else _compare(record, before)
        outcomes.append(outcome)
        if outcome.status in ("created", "restated"):
            assert outcome.revision is not None
            assert outcome.delta is not None
            rows.append((feed.pk, record, outcome.revision, outcome.delta))
            held[key] = _Held(outcome.revision, record.quantity)
    _insert(rows, author, now)
    return outcomes


def _create(record: UsageInput) -> RecordOutcome:
    return RecordOutcome(status="created", quantity=record.quantity, delta=record.quantity, revision=0)


def _compare(record: UsageInput, held: _Held) -> RecordOutcome:
    if record.quantity == held.quantity:
        return RecordOutcome(
            status="unchanged",
            quantity=held.quantity,
            held_quantity=held.quantity,
            delta=0,
            revision=held.revision,
        )
    if not record.reason:
        return RecordOutcome(
            status="conflict",
            quantity=held.quantity,
            held_quantity=held.quantity,
            revision=held.revision,
            message=f"{held.quantity} is held and {record.quantity} was given: a restatement needs a reason",
            fields={"reason": ["is needed to restate"]},
        )
    return RecordOutcome(
        status="restated",
        quantity=record.quantity,
        held_quantity=held.quantity,
        delta=record.quantity - held.quantity,
        revision=held.revision + 1,
    )


def _refuse_granularity(record: UsageInput, feed: UsageFeed) -> RecordOutcome:
    in_force = "daily" if feed.granularity == Granularity.DAY else "monthly"
    return RecordOutcome(
        status="conflict",
        message=f"account {record.account_id} is fed {in_force} totals for {record.period}, never both kinds",
        fields={"period": [f"{in_force} totals are in force for {record.period}"]},
    )


def _ensure_feeds(records: Iterable[UsageInput]) -> dict[FeedKey, UsageFeed]:
    """The months of these records, made where new. The first record of a new month decides how it is fed."""
    wanted: dict[FeedKey, Granularity] = {}
    for record in records:
        wanted.setdefault((record.account_id, record.period), record.granularity)
    found = _read_feeds(wanted)
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        UsageFeed.objects.bulk_create(
            [UsageFeed(account_id=key[0], period=key[1], granularity=wanted[key]) for key in missing],
            ignore_conflicts=True,
        )
        found |= _read_feeds(missing)
    return found


def _read_feeds(keys: Iterable[FeedKey]) -> dict[FeedKey, UsageFeed]:
    keys = set(keys)
    rows = UsageFeed.objects.filter(
        account__in={account_id for account_id, _ in keys}, period__in={period for _, period in keys}
    )
    return {key: feed for feed in rows if (key := (feed.account_id, feed.period)) in keys}


def _read_held(
    feed_ids: Sequence[int], records: Sequence[UsageInput]
) -> dict[tuple[int, object, str], _Held]:
    rows = (
        UsageRecord.objects.filter(
            feed__in=feed_ids, bucket_date__in={record.bucket_date for record in records}
        )
        .order_by("revision")
        .values_list("feed_id", "bucket_date", "usage_type", "revision", "quantity")
    )
    return {(feed, day, kind): _Held(revision, quantity) for feed, day, kind, revision, quantity in rows}


def _insert(rows: Sequence[tuple[int, UsageInput, int, int]], author: str, now: datetime) -> None:
    """Multi-row inserts past the ORM, which would take longer over a batch than the database does.

    Figures and days are written into the statement, as they were parsed to `int` and `date`: the driver's quoting of
    nine values a row took as long as the insert. Whatever is text goes through the driver.
    """
    if not rows:
        return
    at = connection.ops.adapt_datetimefield_value(now)
    rows = sorted(rows, key=lambda row: (row[0], row[1].bucket_date, row[1].usage_type, row[2]))
    with connection.cursor() as cursor:
        for start in range(0, len(rows), _ROWS):
            portion = rows[start : start + _ROWS]
            values = ",".join(
                f"({feed:d},'{r.bucket_date:%Y-%m-%d}',%s,{revision:d},{r.quantity:d},{delta:d},%s,%s,%s)"
                for feed, r, revision, delta in portion
            )
            texts = [text for row in portion for text in (row[1].usage_type, row[1].reason, author, at)]
            cursor.execute(f"{_INSERT} VALUES {values}", texts)
