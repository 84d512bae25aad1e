"""Runs of the sender: batch after batch until nothing is left that can be sent now.

Threads only make calls; every database write is made by the calling thread. One lane's events go to one thread, in
order, so calls are serial per customer and meter and parallel across them.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

import structlog

from metering.models import MeterEvent
from metering.services.ingest import retry_busy
from metering.services.seam import Seam, align_with_seam, disarm_events
from metering.services.sending.attempts import EventCall, MeterPort, Outcome, OutcomeKind, Road, send_lane
from metering.services.sending.budget import SharedBudget
from metering.services.sending.claims import (
    assign_customers,
    bundle_lanes,
    claim_events,
    count_without_customer,
    doubt_stale_repeats,
    expire_old,
    get_next_due_at,
    group_by_lane,
    recover_abandoned,
)
from metering.services.sending.limits import CircuitBreaker
from metering.services.sending.pacing import Pace
from metering.services.sending.resolving import ResolveResult, alert_hopeless, resolve_events
from metering.services.sending.settling import settle
from metering.states import EventState

log = structlog.get_logger(__name__)

#: How long finished calls may wait for others to be settled with them.
SETTLE_SECONDS = 0.1

#: Lanes claimed for each thread: enough to keep it busy, few enough to leave some to other senders.
LANES_PER_THREAD = 4

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderOptions:
    """How a sender works.

    `per_second` is the limit of all senders together. `lease` is how long a lane stays taken if its sender dies; no
    call is started in its last `call_timeout` plus fifteen seconds (for connecting and settling). `patience` is how
    long a drain waits for back-offs before it leaves the rest to the next run.
    """

    per_second: Decimal = Decimal(1000)
    threads: int = 8
    batch: int = 500
    lease: timedelta = timedelta(seconds=120)
    call_timeout: timedelta = timedelta(seconds=20)
    patience: timedelta = timedelta(0)

    @property
    def seconds_to_start(self) -> float:
        margin = min(self.call_timeout + timedelta(seconds=15), self.lease / 2)
        return (self.lease - margin).total_seconds()


@dataclass(slots=True, kw_only=True)
class SendResult:
    """What a run did, in events. `total` = `reported` + `skipped` + `failed`.

    `reported` are counted by Stripe; `skipped` wait for a Stripe customer (or for a Stripe key) and block nobody;
    `failed` did not go through in this run: `retried` later by itself, or `rejected` / `expired` for a person.
    """

    reported: int = 0
    skipped: int = 0
    retried: int = 0
    rejected: int = 0
    expired: int = 0
    claimed: int = 0
    cause: str = ""
    kinds: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return self.retried + self.rejected + self.expired

    @property
    def total(self) -> int:
        return self.reported + self.skipped + self.failed

    def as_dict(self) -> dict[str, int]:
        """The four figures that every run reports."""
        return {
            "total": self.total,
            "reported": self.reported,
            "skipped": self.skipped,
            "failed": self.failed,
        }


def drain_meter_events(
    *,
    port: MeterPort,
    seam: Seam,
    options: SenderOptions,
    clock: Clock,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[SendResult]:
    """Send batches until nothing can be sent now; yields each batch's result, at least one.

    With `patience`, waits for back-offs and for other senders' leases that long after the last progress.
    """
    last_progress = clock()
    is_first = True
    while True:
        result = send_batch(port=port, seam=seam, options=options, clock=clock, is_first=is_first)
        is_first = False
        yield result
        now = clock()
        if result.reported:
            last_progress = now
        if result.cause and not options.patience:
            return
        if result.claimed and not result.cause:
            continue
        due_at = get_next_due_at(now)
        if due_at is None or max(due_at, now) > last_progress + options.patience:
            return
        sleep(min(max((due_at - now).total_seconds(), 0.05), 1.0))


def send_batch(
    *, port: MeterPort, seam: Seam, options: SenderOptions, clock: Clock, is_first: bool = True
) -> SendResult:
    """Prepare, resolve what is uncertain, then claim and send one batch. Opens its own transactions.

    The first batch of a run also arms what is billable by now, for which everything in shadow is read: millions of rows
    while the old side bills. Every batch puts back what is not billable any more.
    Safe to run in several processes at once; killed anywhere, the next run takes over after the lease.
    """
    now = clock()
    result = SendResult()
    if is_first:
        retry_busy(lambda: align_with_seam(seam=seam))
    else:
        retry_busy(lambda: disarm_events(seam=seam))
    retry_busy(assign_customers)
    result.expired += retry_busy(lambda: expire_old(now=now))
    retry_busy(lambda: recover_abandoned(now=now))
    retry_busy(lambda: doubt_stale_repeats(now=now))
    alert_hopeless(now=now)
    _resolve(result, port, options, clock)
    _send(result, port, options, clock)
    result.skipped += count_without_customer()
    log.info("meter_events_sent", **result.as_dict(), cause=result.cause)
    return result


def hold_everything() -> SendResult:
    """The result of a run without a Stripe key: everything is computed, nothing is sent, nothing is an error."""
    waiting = MeterEvent.objects.filter(state=EventState.PENDING).count()
    return SendResult(skipped=waiting, cause="no Stripe key is configured")


def _resolve(result: SendResult, port: MeterPort, options: SenderOptions, clock: Clock) -> None:
    resolved: ResolveResult = resolve_events(
        port=port,
        now=clock(),
        token=str(uuid.uuid4()),
        lease=options.lease,
        limit=options.batch,
        deadline=time.monotonic() + options.seconds_to_start,
    )
    result.reported += resolved.sent
    result.rejected += resolved.rejected
    result.claimed += resolved.sent


def _send(result: SendResult, port: MeterPort, options: SenderOptions, clock: Clock) -> None:
    token = str(uuid.uuid4())
    claimed_at = clock()
    deadline = time.monotonic() + options.seconds_to_start
    calls = retry_busy(
        lambda: claim_events(
            now=claimed_at,
            limit=options.batch,
            token=token,
            lease=options.lease,
            max_lanes=max(options.threads * LANES_PER_THREAD, 32),
        )
    )
    if not calls:
        return
    result.claimed += len(calls)
    bell = threading.Event()
    pace = Pace(options.per_second, SharedBudget(options.per_second), ring=bell.set)
    road = Road(port, pace, CircuitBreaker(), deadline)
    with ThreadPoolExecutor(max_workers=options.threads, thread_name_prefix="meter") as pool:
        try:
            running = _start(pool, calls, road, options, bell)
            for outcomes, lanes in _collect(running, pace, bell):
                retry_busy(partial(settle, outcomes, lane_ids=lanes, token=token, now=clock()))
                _count(result, outcomes)
        finally:
            pace.close()
    result.cause = road.breaker.cause


Running = dict[Future[list[Outcome]], list[int]]


def _start(
    pool: ThreadPoolExecutor,
    calls: list[EventCall],
    road: Road,
    options: SenderOptions,
    bell: threading.Event,
) -> Running:
    """Give the lanes to the threads. A request holds no more events than a second's budget."""
    size = min(road.port.batch, max(1, int(options.per_second)))
    running: Running = {}
    for bundle in bundle_lanes(group_by_lane(calls), size=road.port.batch):
        lane_calls = [call for lane in bundle.values() for call in lane]
        future = pool.submit(send_lane, lane_calls, road=road, size=size)
        future.add_done_callback(lambda _: bell.set())
        running[future] = list(bundle)
    return running


def _collect(
    running: Running, pace: Pace, bell: threading.Event
) -> Iterator[tuple[list[Outcome], list[int]]]:
    """What came of finished lanes, as it comes; reserves the threads' share of the budget meanwhile.

    Lanes that end within a moment are settled together: fewer transactions, none of them long.
    """
    settle_at = time.monotonic() + SETTLE_SECONDS
    while running:
        bell.wait(SETTLE_SECONDS)
        bell.clear()
        pace.refill()
        done = [future for future in running if future.done()]
        if done and (len(done) == len(running) or time.monotonic() >= settle_at):
            lanes = [lane_id for future in done for lane_id in running.pop(future)]
            yield [outcome for future in done for outcome in future.result()], lanes
            settle_at = time.monotonic() + SETTLE_SECONDS


def _count(result: SendResult, outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        kind = outcome.kind
        result.kinds[kind] = result.kinds.get(kind, 0) + 1
        if kind is OutcomeKind.SENT:
            result.reported += 1
        elif kind is OutcomeKind.REJECTED:
            result.rejected += 1
        elif kind is OutcomeKind.EXPIRED:
            result.expired += 1
        elif kind in (OutcomeKind.RETRY, OutcomeKind.UNRESOLVED, OutcomeKind.FOREIGN):
            result.retried += 1
