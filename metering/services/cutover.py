"""The drain before a cutover: whether everything before an instant T is settled on our side, and the proof of it.

Before T means: in a bucket that begins before T. Things move one way: pulled days become statements, statements become
meter events, and a report of Stripe's can put a sent event back. They are counted in that order, all events in one
query, so something that moves on between two queries is counted at least once and never missed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction
from django.db.models import Count, Q

from billing_worker.accounts.audit import record_audit
from billing_worker.core.errors import Conflict
from billing_worker.webhooks.models import InboxEvent
from billing_worker.webhooks.states import InboxState
from metering.models import MeterEvent, UsagePull, UsageRecord
from metering.pulling.claims import CLAIM_EXPIRES_AFTER
from metering.pulling.states import PullState
from metering.samples.selectors import count_open_samples
from metering.services.ingest import retry_busy
from metering.services.seam import Seam, align_with_seam, check_bound
from metering.states import OPEN_STATES, EventState

#: Reports of Stripe's that take back what it had counted.
REPORT_TYPES = ("v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found")
PAUSE_SECONDS = 1.0


class NotDrained(Conflict):
    """Something before the seam is not settled. The figures say what; start a worker, or decide about what is stuck."""

    code = "not_drained"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainState:
    """What there is before `until`. The moving settle by themselves, the stuck wait for a person, the rest is settled.

    `closes_at` is when the last bucket before `until` stops taking statements; nothing is proven before it.
    """

    until: datetime
    closes_at: datetime
    is_closed: bool
    pulls: int
    records: int
    reports: int
    events: int
    stuck_pulls: int
    stuck_reports: int
    rejected: int
    expired: int
    without_customer: int
    shadow: int
    sent: int
    skipped: int

    @property
    def moving(self) -> int:
        return self.pulls + self.records + self.reports + self.events

    @property
    def stuck(self) -> int:
        return self.stuck_pulls + self.stuck_reports + self.rejected + self.expired

    @property
    def is_drained(self) -> bool:
        return self.is_closed and not self.moving and not self.stuck

    def describe_open(self) -> str:
        """Everything that stands against the proof, in one line."""
        moving = (
            f"{self.pulls} days to pull, {self.records} statements to roll up, {self.events} meter events to send,"
            f" {self.reports} reports of Stripe's to read"
        )
        stuck = (
            f"{self.rejected} meter events rejected, {self.expired} expired, {self.stuck_pulls} days not pulled whole,"
            f" {self.stuck_reports} reports failed"
        )
        closing = "" if self.is_closed else f"usage is taken until {self.closes_at:%Y-%m-%dT%H:%MZ}; "
        return f"{closing}{moving}; waiting for a person: {stuck}"

    def describe_settled(self) -> str:
        """What is there and counts as settled, in one line."""
        return (
            f"{self.sent} meter events sent, {self.shadow} left to the old side, {self.skipped} never billed,"
            f" {self.without_customer} without a Stripe customer"
        )


def get_drain_state(*, until: datetime, seam: Seam, grace: timedelta, now: datetime) -> DrainState:
    """Bring waiting events to the seam, then count what there is before `until` (a bucket bound, exclusive).

    Raises:
        InvalidInput: `until` is not midnight UTC.
    """
    check_bound(until, name="--until", field="until")
    retry_busy(partial(align_with_seam, seam=seam))
    # In the order in which things move: see above.
    dead = Q(state=PullState.PULLING, claimed_at__lte=now - CLAIM_EXPIRES_AFTER)
    pulls = UsagePull.objects.filter(day__lt=until.date()).aggregate(
        moving=Count("pk", filter=Q(state__in=[PullState.WAITING, PullState.PULLING]) & ~dead),
        stuck=Count("pk", filter=Q(state__in=[PullState.PARTIAL, PullState.FAILED]) | dead),
    )
    records = UsageRecord.objects.filter(bucket_date__lt=until.date(), rolled_up_at__isnull=True).count()
    records += count_open_samples(until=until)
    reports = InboxEvent.objects.filter(type__in=REPORT_TYPES).aggregate(
        moving=Count("pk", filter=Q(state__in=[InboxState.RECEIVED, InboxState.PROCESSING])),
        stuck=Count("pk", filter=Q(state=InboxState.FAILED)),
    )
    events = MeterEvent.objects.filter(bucket_start_at__lt=until).aggregate(
        events=Count("pk", filter=Q(state__in=OPEN_STATES) & ~_WITHOUT_CUSTOMER),
        without_customer=Count("pk", filter=_WITHOUT_CUSTOMER),
        **{state: Count("pk", filter=Q(state=state)) for state in _COUNTED},
    )
    return DrainState(
        until=until,
        closes_at=until + grace,
        is_closed=now >= until + grace,
        pulls=pulls["moving"],
        stuck_pulls=pulls["stuck"],
        records=records,
        reports=reports["moving"],
        stuck_reports=reports["stuck"],
        **events,
    )


_WITHOUT_CUSTOMER = Q(state=EventState.PENDING, lane__isnull=True)
_COUNTED = tuple(
    state.value
    for state in (
        EventState.REJECTED,
        EventState.EXPIRED,
        EventState.SHADOW,
        EventState.SENT,
        EventState.SKIPPED,
    )
)


def watch_drain(
    *,
    until: datetime,
    seam: Seam,
    grace: timedelta,
    timeout: timedelta,
    clock: Callable[[], datetime],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[DrainState]:
    """Look every second until it is drained, or until waiting can't help; yields each look, at least one.

    Waiting can't help past `timeout`, once only people can settle what is left, or if the buckets close too late.
    """
    deadline = clock() + timeout
    while True:
        now = clock()
        state = get_drain_state(until=until, seam=seam, grace=grace, now=now)
        yield state
        only_people_can = state.is_closed and not state.moving
        if state.is_drained or only_people_can or now >= deadline or state.closes_at > deadline:
            return
        sleep(PAUSE_SECONDS)


@transaction.atomic
def record_drain(*, state: DrainState, actor: str, now: datetime) -> None:
    """Write the proof into the audit trail.

    Raises:
        NotDrained: there is none.
    """
    if not state.is_drained:
        raise NotDrained(f"not drained before {state.until:%Y-%m-%d}: {state.describe_open()}")
    record_audit(
        actor=actor,
        action="metering.cutover_drained",
        subject_type="seam",
        subject_id=f"{state.until:%Y-%m-%d}",
        at=now,
        after={
            "sent": state.sent,
            "shadow": state.shadow,
            "skipped": state.skipped,
            "without_customer": state.without_customer,
        },
    )
