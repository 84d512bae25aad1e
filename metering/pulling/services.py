"""Pull days: what a source says goes through the same door as `POST /usage`, batch by batch, and can be repeated.

A pull restates only what it stated itself. A figure that somebody else stated (a correction by hand, another service)
is never overruled by reading the source again: the row is refused, named and alerted, until a person gives a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from itertools import groupby, islice
from typing import Final, TypeVar

import structlog

from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period
from metering.models import UsageRecord
from metering.parsing import MAX_BATCH, UsageInput, parse_record
from metering.pulling.alerting import report_day
from metering.pulling.claims import DayClaim, claim_day, renew_claim, settle_claim
from metering.pulling.models import UsagePull
from metering.pulling.sources import DayReading, SourceDay, SourceRow, UsageSource
from metering.pulling.states import PullState
from metering.services.ingest import store_usage
from metering.states import Granularity

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]
T = TypeVar("T")
SHOWN_REFUSALS: Final = 20


@dataclass(slots=True, kw_only=True)
class DayResult:
    """What came of a day. `state` is None if another pull is at it."""

    day: date
    state: PullState | None = None
    rows: int = 0
    created: int = 0
    unchanged: int = 0
    restated: int = 0
    refused: int = 0
    reasons: list[str] = field(default_factory=list)
    #: What rows that could not be read call their account.
    unread: set[object] = field(default_factory=set)

    @property
    def detail(self) -> str:
        more = self.refused - len(self.reasons)
        return "\n".join([*self.reasons, *([f"and {more} more"] if more > 0 and self.reasons else [])])

    def refuse(self, reason: str) -> None:
        """Count a refused row; the first ones are kept for people."""
        self.refused += 1
        if len(self.reasons) < SHOWN_REFUSALS:
            self.reasons.append(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullPlan:
    """What a pull of a period has to do: days to read, how many are held as they are, days that are not complete."""

    source: UsageSource
    period: Period
    days: tuple[SourceDay, ...]
    held: int
    listed: frozenset[date]


def plan_pull(*, source: UsageSource, period: Period, now: datetime, again: bool = False) -> PullPlan:
    """Find the complete days whose usage is not held as the source now states it; all of them with `again`.

    A day that is not over (UTC) is left for later, whatever the source says of it.

    Raises:
        Unavailable: the source can't be read.
    """
    complete = [said for said in source.list_days(period) if said.day < now.date()]
    held = set(
        UsagePull.objects.filter(source=source.name, state=PullState.DONE).values_list("day", "fingerprint")
    )
    days = tuple(said for said in complete if again or (said.day, said.fingerprint) not in held)
    return PullPlan(
        source=source,
        period=period,
        days=days,
        held=len(complete) - len(days),
        listed=frozenset(said.day for said in complete),
    )


def run_pull(*, plan: PullPlan, clock: Clock, reason: str = "") -> Iterator[DayResult]:
    """Pull the plan's days, one result each. Stop anywhere and run again: what is held is found unchanged.

    With a `reason`, figures that somebody else stated are restated, too.

    Raises:
        Unavailable: the source or the store gave up; the day is tried again by the next run.
    """
    for said in plan.days:
        result = pull_day(source=plan.source, day=said.day, clock=clock, reason=reason)
        log.info(
            "usage_day_pulled",
            source=plan.source.name,
            day=said.day.isoformat(),
            state=result.state or "busy",
            rows=result.rows,
            created=result.created,
            restated=result.restated,
            refused=result.refused,
        )
        yield result


def pull_day(*, source: UsageSource, day: date, clock: Clock, reason: str = "") -> DayResult:
    """Read one day and store it, see `run_pull`."""
    claim = claim_day(source=source.name, day=day, now=clock())
    result = DayResult(day=day)
    if claim is None:
        return result
    try:
        with source.open_day(day) as reading:
            if reading is None:
                result.state = PullState.WAITING
            else:
                result.state = _take_day(source, reading, claim, result, clock, reason)
    except BaseException as error:  # Ctrl-C, too: the day must not look claimed
        settle_claim(claim, state=PullState.FAILED, changes={"detail": str(error) or type(error).__name__})
        raise
    _settle(claim, reading.said if reading else None, result, clock())
    return result


def _settle(claim: DayClaim, said: SourceDay | None, result: DayResult, now: datetime) -> None:
    assert result.state is not None
    changes: dict[str, object] = {
        "rows": result.rows,
        "created": result.created,
        "unchanged": result.unchanged,
        "restated": result.restated,
        "refused": result.refused,
        "detail": result.detail,
    }
    if said is not None and result.state != PullState.FAILED:
        changes |= {"fingerprint": said.fingerprint, "completed_at": said.completed_at, "pulled_at": now}
    settle_claim(claim, state=result.state, changes=changes)
    report_day(source=claim.source, day=claim.day, detail=result.detail, refused=result.refused, now=now)


def _take_day(
    source: UsageSource,
    reading: DayReading,
    claim: DayClaim,
    result: DayResult,
    clock: Clock,
    reason: str,
) -> PullState:
    """Store every row of the day, and zeros for what a whole source no longer has."""
    day, author = reading.said.day, f"pull:{source.name}"
    own_reason = source.describe_restatement(reading.said)
    seen: set[tuple[object, object]] = set()
    for rows in _take_chunks(_without_twins(reading.rows, seen, result), MAX_BATCH):
        renew_claim(claim, now=clock())
        records = _parse_rows(rows, day, clock(), result)
        _store(records, author, own_reason, reason, clock(), result)
    if source.is_whole:
        gone = _find_gone(day, author, seen, result.unread)
        if gone and not result.rows:
            result.refuse(f"no row is left of a day that had {len(gone)}: nothing was changed")
            return PullState.FAILED
        for chunk in _take_chunks(gone, MAX_BATCH):
            renew_claim(claim, now=clock())
            zeros = [("is not in the source any more", record) for record in chunk]
            _store(zeros, author, own_reason, reason, clock(), result)
    return PullState.PARTIAL if result.refused else PullState.DONE


def _take_chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _without_twins(
    rows: Iterable[SourceRow], seen: set[tuple[object, object]], result: DayResult
) -> Iterator[SourceRow]:
    """The rows whose account and type come once. A warehouse holds no key unique, and none of two is the right one."""
    for key, group in groupby(rows, key=lambda row: (row.account_id, row.usage_type)):
        same = list(group)
        result.rows += len(same)
        seen.add(key)
        if len(same) == 1:
            yield same[0]
        else:
            result.refuse(f"account {key[0]} {key[1]}: stands {len(same)} times in the source")


def _parse_rows(
    rows: Iterable[SourceRow], day: date, now: datetime, result: DayResult
) -> list[tuple[str, UsageInput]]:
    """The well-formed rows as records, each with its place."""
    records = []
    for row in rows:
        place = row.where or f"account {row.account_id} {row.usage_type}"
        raw = {
            "account_id": row.account_id,
            "period": day.isoformat(),
            "usage_type": row.usage_type,
            "quantity": row.quantity,
            **({"reason": row.reason} if row.reason else {}),
        }
        try:
            records.append((place, parse_record(raw, today=now.date())))
        except InvalidInput as error:
            problems = "; ".join(f"{name} {', '.join(texts)}" for name, texts in sorted(error.fields.items()))
            result.refuse(f"{place}: {problems}")
            result.unread.add(row.account_id)
    return records


def _store(
    placed: list[tuple[str, UsageInput]],
    author: str,
    own_reason: str,
    reason: str,
    now: datetime,
    result: DayResult,
) -> None:
    """Through the door that every statement takes; a reason only where this source may restate."""
    authors = _read_authors([record for _, record in placed])
    records = []
    for _, record in placed:
        is_own = authors.get((record.account_id, record.usage_type)) == author
        given = record.reason or reason or (own_reason if is_own else "")
        records.append(replace(record, reason=given))
    outcomes = store_usage(records=records, author=author, now=now)
    for (place, record), outcome in zip(placed, outcomes, strict=True):
        if outcome.status == "invalid" and not record.quantity:
            result.unchanged += 1  # nothing, of an account that is nobody
        elif outcome.is_refused:
            result.refuse(f"{place}: {outcome.message}")
        elif outcome.status == "created":
            result.created += 1
        elif outcome.status == "restated":
            result.restated += 1
        else:
            result.unchanged += 1


def _read_authors(records: list[UsageInput]) -> dict[tuple[int, str], str]:
    """Who stated the figure in force, for the records that are held. They are all of one day."""
    if not records:
        return {}
    rows = UsageRecord.objects.filter(
        feed__account__in={record.account_id for record in records},
        feed__period=records[0].period,
        bucket_date=records[0].bucket_date,
    ).order_by("revision")
    return {
        (account, kind): author
        for account, kind, author in rows.values_list("feed__account_id", "usage_type", "author")
    }


def _find_gone(
    day: date, author: str, seen: set[tuple[object, object]], unread: set[object]
) -> list[UsageInput]:
    """Zeros for what this source stated of the day and does not have any more.

    Not where a row that could not be read may be the one: of the same account, or of nobody knows which.
    """
    if any(type(account) is not int for account in unread):
        return []
    rows = UsageRecord.objects.filter(
        feed__period=str(Period.of(day)), feed__granularity=Granularity.DAY, bucket_date=day
    ).order_by("revision")
    held = {
        (account, kind): (quantity, stated_by)
        for account, kind, quantity, stated_by in rows.values_list(
            "feed__account_id", "usage_type", "quantity", "author"
        )
    }
    return [
        UsageInput(account, str(Period.of(day)), Granularity.DAY, day, kind, 0)
        for (account, kind), (quantity, stated_by) in sorted(held.items())
        if quantity and stated_by == author and (account, kind) not in seen and account not in unread
    ]
