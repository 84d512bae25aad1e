"""Calls whose outcome is unknown: look at Stripe's summaries before anything is sent again.

For each day of a lane, the meter's total at Stripe less what we know it counted is what the uncertain events
contributed. If exactly one choice of them adds up to that, those were counted. What is not proven counted is sent again
under the same identifier, but only while Stripe still refuses a repeated one (23 of its 24 hours): should the summaries
have lagged, the repeat is refused and nothing is counted twice. After that only a person decides.

An identifier that Stripe refused at our first attempt belongs to an event that is not ours by our records: unless the
summaries prove that it holds what we meant to send, it is rejected and a person decides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from itertools import combinations
from time import monotonic
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet, Sum

from billing_worker import gateway
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import AlertName
from metering.models import MeterEvent, SendingLane
from metering.services.ingest import retry_busy
from metering.services.sending.attempts import MeterPort
from metering.services.sending.claims import REPEAT_IS_SAFE_FOR, lease_lanes, still_hold
from metering.services.sending.limits import compute_backoff
from metering.states import EventState

log = structlog.get_logger(__name__)

#: Past this many uncertain events in one day of a lane, combinations say nothing.
MAX_COMBINED = 12
#: Looks at the summaries before an identifier that somebody else used is given to a person.
LOOKS_AT_FOREIGN = 4


@dataclass(frozen=True, slots=True)
class Window:
    """One day (UTC) of a lane that holds uncertain events."""

    lane: SendingLane
    day: date
    unresolved: tuple[MeterEvent, ...]

    @property
    def start_at(self) -> datetime:
        return datetime.combine(self.day, time(0), tzinfo=UTC)

    @property
    def end_at(self) -> datetime:
        return self.start_at + timedelta(days=1)


@dataclass(slots=True)
class ResolveResult:
    """`sent` were proven counted, `repeated` go out again, `waiting` are looked up later."""

    sent: int = 0
    repeated: int = 0
    waiting: int = 0
    rejected: int = 0


def select_unresolved(now: datetime) -> QuerySet[MeterEvent]:
    """Unresolved events that are due for a look and that need no person, in lanes that are free."""
    return (
        MeterEvent.objects.filter(state=EventState.UNRESOLVED)
        .filter(Q(uncertain_at__isnull=True) | Q(uncertain_at__gte=now - REPEAT_IS_SAFE_FOR))
        .filter(Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=now))
        .filter(Q(lane__leased_until__isnull=True) | Q(lane__leased_until__lt=now))
    )


def resolve_events(
    *, port: MeterPort, now: datetime, token: str, lease: timedelta, limit: int, deadline: float
) -> ResolveResult:
    """Look at Stripe's summaries for unresolved events and settle them. Calls happen outside transactions.

    `deadline` (monotonic seconds) is when to start no further look, well before the leases end.
    """
    result = ResolveResult()
    candidates = list(select_unresolved(now).order_by("at", "pk").values_list("pk", "lane_id")[:limit])
    if not candidates:
        return result
    with transaction.atomic():
        lanes = lease_lanes({lane for _, lane in candidates if lane}, now=now, token=token, lease=lease)
    try:
        for window in _group_windows([pk for pk, lane in candidates if lane in lanes]):
            if monotonic() >= deadline:
                break
            _resolve_window(window, port, token, now, result)
    finally:
        SendingLane.objects.filter(lease_token=token).update(lease_token="", leased_until=None)
    return result


def alert_hopeless(*, now: datetime) -> int:
    """Alert about unresolved events that only a person can settle, until none is left. Returns how many there are."""
    hopeless = MeterEvent.objects.filter(
        state=EventState.UNRESOLVED, uncertain_at__lt=now - REPEAT_IS_SAFE_FOR
    )
    count = hopeless.count()
    subject = "meter events past the safe time to repeat"
    if not count:
        resolve_alert(name=AlertName.METER_EVENT_UNKNOWN, subject=subject, now=now)
    else:
        raise_alert(
            name=AlertName.METER_EVENT_UNKNOWN,
            severity="critical",
            subject=subject,
            detail=f"{count} meter events, first {hopeless.order_by('at')[0].identifier}: compare with Stripe's"
            " meter and mark each sent or not sent in the admin",
            now=now,
        )
    return count


def _group_windows(ids: Sequence[int]) -> list[Window]:
    groups: defaultdict[tuple[int, date], list[MeterEvent]] = defaultdict(list)
    for event in MeterEvent.objects.filter(pk__in=ids, state=EventState.UNRESOLVED).select_related("lane"):
        assert event.lane is not None
        groups[event.lane.pk, event.at.astimezone(UTC).date()].append(event)
    windows = []
    for (_, day), events in sorted(groups.items()):
        lane = events[0].lane
        assert lane is not None
        windows.append(Window(lane, day, tuple(events)))
    return windows


def _resolve_window(
    window: Window, port: MeterPort, token: str, now: datetime, result: ResolveResult
) -> None:
    try:
        total = port.get_total(
            event_name=window.lane.event_name,
            customer=window.lane.customer,
            start_at=window.start_at,
            end_at=window.end_at,
        )
    except gateway.GatewayError as error:
        log.warning("meter_summary_unavailable", customer=window.lane.customer, error=str(error))
        result.waiting += len(window.unresolved)
        for event in window.unresolved:
            _move(event, next_attempt_at=now + compute_backoff(event.attempts))
        return
    retry_busy(partial(_settle_window, window, total, token, now, result))


@transaction.atomic
def _settle_window(window: Window, total: int, token: str, now: datetime, result: ResolveResult) -> None:
    """Compare what Stripe holds with what we know, while nobody else can send on the lane.

    A look that took longer than our lease is thrown away: another sender may have sent since.
    """
    if not still_hold(window.lane.pk, token=token):
        log.warning("meter_summary_too_late", customer=window.lane.customer)
        return
    counted = find_counted(total - _sum_sent(window), _list_uncertain(window))
    for event in window.unresolved:
        if event.pk in counted:
            result.sent += 1
            _move(event, state=EventState.SENT, sent_at=now, reason="found in Stripe's summary")
        elif event.uncertain_at is None:
            _doubt_foreign(event, now, result)
        else:
            result.repeated += 1
            _move(
                event,
                state=EventState.PENDING,
                reason="not found in Stripe's summary",
                next_attempt_at=now + compute_backoff(event.attempts),
            )


def _doubt_foreign(event: MeterEvent, now: datetime, result: ResolveResult) -> None:
    """An identifier that somebody else used: look a few times, as summaries lag, then leave it to a person."""
    if event.attempts < LOOKS_AT_FOREIGN:
        result.waiting += 1
        _move(event, attempts=event.attempts + 1, next_attempt_at=now + compute_backoff(event.attempts + 3))
        return
    result.rejected += 1
    reason = "Stripe holds another event under this identifier"
    _move(event, state=EventState.REJECTED, reason=reason)
    raise_alert(
        name=AlertName.METER_EVENT_REJECTED,
        severity="critical",
        subject=event.identifier,
        detail=f"{reason}: find out who sent it, then mark ours sent or give it up",
        now=now,
    )


def _move(event: MeterEvent, **changes: Any) -> None:
    MeterEvent.objects.filter(pk=event.pk, state=EventState.UNRESOLVED).update(**changes)


def _in_window(window: Window) -> QuerySet[MeterEvent]:
    return MeterEvent.objects.filter(lane=window.lane, at__gte=window.start_at, at__lt=window.end_at)


def _sum_sent(window: Window) -> int:
    return _in_window(window).filter(state=EventState.SENT).aggregate(total=Sum("value"))["total"] or 0


def _list_uncertain(window: Window) -> list[tuple[int, int]]:
    """`(pk, value)` of everything in the window that Stripe may or may not have counted, repeats included.

    We hold the lane, so what is still `sending` is a dead sender's.
    """
    uncertain = _in_window(window).filter(
        Q(state__in=[EventState.UNRESOLVED, EventState.SENDING])
        | Q(state=EventState.PENDING, uncertain_at__isnull=False)
    )
    return list(uncertain.order_by("pk").values_list("pk", "value"))


def find_counted(difference: int, uncertain: Sequence[tuple[int, int]]) -> frozenset[int]:
    """The only subset of `(pk, value)` pairs whose values add up to `difference`; empty if none or several do."""
    if difference == 0 or len(uncertain) > MAX_COMBINED:
        return frozenset()
    matches = [
        frozenset(pk for pk, _ in chosen)
        for size in range(1, len(uncertain) + 1)
        for chosen in combinations(uncertain, size)
        if sum(value for _, value in chosen) == difference
    ]
    return matches[0] if len(matches) == 1 else frozenset()
