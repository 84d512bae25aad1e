"""Whether Stripe counts what we sent: its meters' totals against ours, for each customer's meter and day.

The stream drops a repeated identifier without a word, and a later refusal may name only samples of what it refused.
Both show here: Stripe then holds another total than the events that we call sent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import structlog
from django.db.models import Q, Sum

from billing_worker import gateway
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import AlertName
from billing_worker.core.periods import Period
from metering.models import MeterEvent, SendingLane
from metering.services.sending.attempts import MeterPort
from metering.states import EventState

log = structlog.get_logger(__name__)

#: Stripe adds up with a delay: what was sent within this time is not compared yet.
SETTLES_WITHIN: Final = timedelta(hours=1)
#: The daily comparison looks back so far: a missed run is made up for by the next one.
LOOK_BACK: Final = timedelta(hours=49)
_UNSETTLED = (EventState.SENDING, EventState.UNRESOLVED)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A customer's meter from a day on, for one day or for a month."""

    lane: SendingLane
    start_at: datetime
    end_at: datetime

    def __str__(self) -> str:
        days = (self.end_at - self.start_at).days
        return f"{self.lane} {self.start_at:%Y-%m-%d}" if days == 1 else f"{self.lane} {self.start_at:%Y-%m}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`theirs` is Stripe's total and None if it could not be read; `ours` adds up what we call sent."""

    stretch: Stretch
    ours: int
    theirs: int | None

    @property
    def differs(self) -> bool:
        return self.theirs is not None and self.theirs != self.ours


def list_recent_days(*, now: datetime, after: tuple[int, str] = (0, "")) -> list[Stretch]:
    """Days (UTC) of lanes on which something was sent lately and nothing is on its way, in order, after a place."""
    sent = MeterEvent.objects.filter(
        state=EventState.SENT, sent_at__gt=now - LOOK_BACK, sent_at__lte=now - SETTLES_WITHIN
    )
    days: defaultdict[int, set[date]] = defaultdict(set)
    for lane_id, at in sent.order_by().values_list("lane_id", "at").distinct():
        days[lane_id].add(at.astimezone(UTC).date())
    lanes = SendingLane.objects.in_bulk(list(days))
    places = sorted((lane_id, day.isoformat()) for lane_id in days for day in days[lane_id])
    return [_of_day(lanes[lane_id], day) for lane_id, day in places if (lane_id, day) > after]


def list_month(period: Period) -> list[Stretch]:
    """Every customer's meter that has events in the month."""
    told = MeterEvent.objects.filter(lane__isnull=False, at__gte=period.start_at, at__lt=period.end_at)
    lanes = SendingLane.objects.filter(pk__in=told.order_by().values("lane")).order_by("pk")
    return [Stretch(lane, period.start_at, period.end_at) for lane in lanes]


def compare_totals(stretches: list[Stretch], *, port: MeterPort, now: datetime) -> Iterator[Comparison]:
    """Compare each stretch with Stripe's meter, raise an alert where they differ and resolve it where they agree.

    A stretch with a call under way, or one just made, is left out. Outside of any transaction: it calls Stripe.
    """
    for stretch in stretches:
        before = _read(stretch, now)
        if before is None:
            continue
        theirs = _ask(stretch, port)
        if _read(stretch, now) != before:
            continue  # something was sent or decided while we asked
        found = Comparison(stretch, before, theirs)
        _tell(found, now)
        yield found


def _of_day(lane: SendingLane, day: str) -> Stretch:
    start = datetime.combine(date.fromisoformat(day), time(0), tzinfo=UTC)
    return Stretch(lane, start, start + timedelta(days=1))


def _read(stretch: Stretch, now: datetime) -> int | None:
    """What we call sent; None while that is not settled."""
    events = MeterEvent.objects.filter(lane=stretch.lane, at__gte=stretch.start_at, at__lt=stretch.end_at)
    open_calls = Q(state__in=_UNSETTLED) | Q(state=EventState.PENDING, uncertain_at__isnull=False)
    just_sent = Q(state=EventState.SENT, sent_at__gt=now - SETTLES_WITHIN)
    if events.filter(open_calls | just_sent).exists():
        return None
    return events.filter(state=EventState.SENT).aggregate(total=Sum("value"))["total"] or 0


def _ask(stretch: Stretch, port: MeterPort) -> int | None:
    try:
        return port.get_total(
            event_name=stretch.lane.event_name,
            customer=stretch.lane.customer,
            start_at=stretch.start_at,
            end_at=stretch.end_at,
        )
    except gateway.GatewayError as error:
        log.warning("meter_summary_unavailable", customer=stretch.lane.customer, error=str(error))
        return None


def _tell(found: Comparison, now: datetime) -> None:
    if found.theirs is None:
        return
    if not found.differs:
        resolve_alert(name=AlertName.METER_TOTAL_DIFFERS, subject=str(found.stretch), now=now)
        return
    missing = found.ours - found.theirs
    raise_alert(
        name=AlertName.METER_TOTAL_DIFFERS,
        severity="critical",
        subject=str(found.stretch),
        detail=f"Stripe counts {found.theirs} units and {found.ours} were sent: {abs(missing)}"
        f" {'are missing there (dropped as repeated, or refused later)' if missing > 0 else 'came from elsewhere'}."
        " Compare with the meter's events in Stripe's dashboard, then resolve ours in the console",
        now=now,
    )
