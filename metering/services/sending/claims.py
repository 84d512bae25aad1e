"""Which events a sender may send now: customers found, ages checked, lanes leased, rows claimed. All in the database.

A lane (a customer's meter) is leased by one sender at a time, so calls on it are serial across processes too. A
sender that dies leaves its lanes leased until they run out; whoever comes next then finds its rows `sending` and treats
each as a call whose outcome is unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import structlog
from django.db import connection, transaction
from django.db.models import DateTimeField, F, Min, Q, QuerySet, Value
from django.db.models.functions import Coalesce

from billing_worker.accounts.models import Account, TestClock
from billing_worker.accounts.selectors import get_payer
from billing_worker.alerts.services import raise_alert
from billing_worker.alerts.states import AlertName
from metering.models import MeterEvent, SendingLane
from metering.services.roll_up import get_lanes
from metering.services.sending.attempts import EventCall
from metering.states import EventState
from metering.true_ups.billed import billed_for_event

log = structlog.get_logger(__name__)

#: Stripe takes timestamps of at most 35 days; five minutes are left for the way there.
MAX_AGE = timedelta(days=35) - timedelta(minutes=5)
#: Accounts whose old events are marked in one transaction: a month that is armed too late is millions of events.
EXPIRED_AT_ONCE = 20
#: Stripe promises that an identifier is refused a second time for at least 24 hours; one is left as margin.
REPEAT_IS_SAFE_FOR = timedelta(hours=23)

#: From its first claim on, what Stripe was told stands in these columns too, and a constraint holds the two together.
SEAL = {
    "sealed_identifier": F("identifier"),
    "sealed_value": F("value"),
    "sealed_at": F("at"),
    "sealed_lane": F("lane_id"),
}


def assign_customers() -> int:
    """Give waiting events the Stripe customer that their account (or its parent) has got since. Returns how many."""
    waiting = MeterEvent.objects.filter(state=EventState.PENDING, lane__isnull=True)
    names: defaultdict[int, set[str]] = defaultdict(set)
    for account_id, event_name in waiting.order_by().values_list("account_id", "event_name").distinct():
        names[account_id].add(event_name)
    accounts = Account.objects.filter(pk__in=names).select_related("parent__parent")
    assigned = 0
    for account in accounts:
        payer = get_payer(account)
        if payer is None or payer.stripe_customer_id is None:
            continue
        for event_name, lane in get_lanes(payer.stripe_customer_id, sorted(names[account.pk])).items():
            assigned += waiting.filter(account=account, event_name=event_name).update(payer=payer, lane=lane)
    return assigned


def count_without_customer() -> int:
    """Events that wait for a Stripe customer; they block nobody."""
    return MeterEvent.objects.filter(state=EventState.PENDING, lane__isnull=True).count()


def _customer_now(now: datetime) -> Coalesce:
    """The present instant where the customer lives: its test clock's, else ours. For `alias()`: it joins outwards."""
    return Coalesce(
        "payer__test_clock__frozen_at", Value(now, output_field=DateTimeField()), output_field=DateTimeField()
    )


def expire_old(*, now: datetime) -> int:
    """Mark events that Stripe would refuse for their age as `expired` and alert. Returns how many.

    Not those whose outcome was once unknown: they may have been counted, and a true-up would bill them twice.
    """
    pending = MeterEvent.objects.filter(
        state=EventState.PENDING, lane__isnull=False, uncertain_at__isnull=True
    )
    too_old = Q(payer__test_clock__isnull=True, at__lt=now - MAX_AGE)
    for clock in TestClock.objects.filter(accounts__isnull=False).distinct():
        too_old |= Q(payer__test_clock=clock, at__lt=clock.frozen_at - MAX_AGE)
    old = pending.filter(too_old)
    accounts = sorted(old.order_by().values_list("account_id", flat=True).distinct())
    return sum(
        _expire(old.filter(account__in=accounts[start : start + EXPIRED_AT_ONCE]), now)
        for start in range(0, len(accounts), EXPIRED_AT_ONCE)
    )


@transaction.atomic
def _expire(old: QuerySet[MeterEvent], now: datetime) -> int:
    rows = list(old.values_list("pk", "account_id", "period", "value"))
    expired = MeterEvent.objects.filter(pk__in=[row[0] for row in rows], state=EventState.PENDING).update(
        state=EventState.EXPIRED, reason="older than the 35 days that Stripe takes; bill it as a true-up"
    )
    totals: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    for _, account_id, period, value in rows:
        totals[account_id, period].append(value)
    for (account_id, period), values in totals.items():
        raise_alert(
            name=AlertName.METER_EVENT_EXPIRED,
            severity="critical",
            subject=f"account {account_id}, {period}",
            detail=f"{len(values)} meter events with {sum(values)} units are older than 35 days: not billed",
            now=now,
        )
    return expired


def recover_abandoned(*, now: datetime) -> int:
    """Rows that a dead sender left `sending`: their calls may have been made, so they become `unresolved`."""
    abandoned = dict(_select_abandoned(now).values_list("pk", "claim_token"))
    if not abandoned:
        return 0
    recovered = MeterEvent.objects.filter(
        pk__in=abandoned, state=EventState.SENDING, claim_token__in=set(abandoned.values())
    ).update(
        state=EventState.UNRESOLVED,
        reason="the sender that claimed it did not come back",
        attempts=F("attempts") + 1,
        uncertain_at=Coalesce("uncertain_at", "claimed_at"),
        claim_token="",
        next_attempt_at=None,
    )
    log.warning("meter_events_recovered", events=recovered)
    return recovered


def _select_abandoned(now: datetime) -> QuerySet[MeterEvent]:
    """Claimed rows whose sender no longer holds their lane: its lease ran out, and another may have had it since."""
    still_ours = Q(lane__lease_token=F("claim_token"), lane__leased_until__gte=now)
    return MeterEvent.objects.filter(state=EventState.SENDING, lane__isnull=False).exclude(still_ours)


def doubt_stale_repeats(*, now: datetime) -> int:
    """Events once of unknown outcome whose identifier no longer protects them: a person decides, nothing is sent."""
    return MeterEvent.objects.filter(
        state=EventState.PENDING, uncertain_at__lt=now - REPEAT_IS_SAFE_FOR
    ).update(
        state=EventState.UNRESOLVED,
        reason="an earlier call's outcome is unknown and is too long ago to repeat",
    )


def claim_events(
    *, now: datetime, limit: int, token: str, lease: timedelta, max_lanes: int = 32
) -> list[EventCall]:
    """Claim sendable events, at most `limit`, in the `max_lanes` free lanes that hold the oldest ones. Commits.

    Not all lanes at once: the others are left to other senders.
    """
    waiting = select_sendable(now).order_by("at", "pk").values_list("lane_id", flat=True)[:limit]
    wanted = list(dict.fromkeys(waiting))[:max_lanes]
    if not wanted:
        return []
    with transaction.atomic():
        lanes = lease_lanes(wanted, now=now, token=token, lease=lease)
        ready = _select_ready(now).filter(lane__in=lanes).order_by("at", "pk")
        ids = list(ready.values_list("pk", flat=True)[:limit])
        MeterEvent.objects.filter(pk__in=ids, state=EventState.PENDING).update(
            state=EventState.SENDING, claim_token=token, claimed_at=now, **SEAL
        )
        calls = read_calls(MeterEvent.objects.filter(pk__in=ids, state=EventState.SENDING, claim_token=token))
        release_lanes(lanes - {call.lane_id for call in calls}, token=token)
    return calls


def _select_ready(now: datetime) -> QuerySet[MeterEvent]:
    """Pending events that have a customer, whose back-off is over and whose time has come where the customer lives."""
    pending = MeterEvent.objects.filter(state=EventState.PENDING, lane__isnull=False).filter(
        Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=now)
    )
    # A billed period's usage would be counted and never billed: it becomes a true-up.
    sendable = pending.exclude(billed_for_event())
    return sendable.alias(customer_now=_customer_now(now)).filter(at__lte=F("customer_now"))


def select_sendable(now: datetime) -> QuerySet[MeterEvent]:
    """What a sender could claim now: ready, and in a lane that nobody holds."""
    return _select_ready(now).filter(Q(lane__leased_until__isnull=True) | Q(lane__leased_until__lt=now))


def release_lanes(lane_ids: Collection[int], *, token: str) -> None:
    """Give lanes back that are still ours."""
    SendingLane.objects.filter(pk__in=lane_ids, lease_token=token).update(lease_token="", leased_until=None)


def lease_lanes(lane_ids: Collection[int], *, now: datetime, token: str, lease: timedelta) -> set[int]:
    """Take the free ones of these lanes until `now + lease`. Inside a transaction; locked lanes are left to others."""
    skip_locked = connection.features.has_select_for_update_skip_locked
    free = set(
        SendingLane.objects.select_for_update(skip_locked=skip_locked)
        .filter(Q(leased_until__isnull=True) | Q(leased_until__lt=now), pk__in=lane_ids)
        .values_list("pk", flat=True)
    )
    SendingLane.objects.filter(pk__in=free).update(lease_token=token, leased_until=now + lease)
    return free


def still_hold(lane_id: int, *, token: str) -> bool:
    """Whether the lane is still ours; inside a transaction it then stays so until the end, lease over or not."""
    return SendingLane.objects.select_for_update().filter(pk=lane_id, lease_token=token).exists()


def read_calls(events: QuerySet[MeterEvent]) -> list[EventCall]:
    """What threads need of these rows, in the order of their lanes."""
    return [
        EventCall(
            pk=event.pk,
            lane_id=event.lane.pk,
            identifier=event.identifier,
            event_name=event.event_name,
            customer=event.lane.customer,
            value=event.value,
            at=event.at,
            attempts=event.attempts,
            is_repeat=event.uncertain_at is not None,
        )
        for event in events.select_related("lane").order_by("at", "pk")
        if event.lane is not None
    ]


def get_next_due_at(now: datetime) -> datetime | None:
    """When it is worth looking again: `now` if an event can be tried at once, None if none waits.

    Otherwise the first end of a back-off or of another sender's lease, which may turn out to be a little early.
    """
    waiting = (
        MeterEvent.objects.filter(state__in=[EventState.PENDING, EventState.UNRESOLVED], lane__isnull=False)
        .exclude(_needs_person(now))
        .exclude(billed_for_event(), state=EventState.PENDING)
    )
    waiting = waiting.alias(customer_now=_customer_now(now)).filter(at__lte=F("customer_now"))
    in_back_off = Q(next_attempt_at__gt=now)
    in_lease = Q(lane__leased_until__gte=now)
    if waiting.exclude(in_back_off).exclude(in_lease).exists() or _select_abandoned(now).exists():
        return now
    moments = [
        waiting.filter(in_back_off).aggregate(at=Min("next_attempt_at"))["at"],
        waiting.filter(in_lease).aggregate(at=Min("lane__leased_until"))["at"],
        MeterEvent.objects.filter(state=EventState.SENDING).aggregate(at=Min("lane__leased_until"))["at"],
    ]
    known: list[datetime] = [moment for moment in moments if moment is not None]
    return min(known, default=None)


def _needs_person(now: datetime) -> Q:
    return Q(state=EventState.UNRESOLVED, uncertain_at__lt=now - REPEAT_IS_SAFE_FOR)


def group_by_lane(calls: Sequence[EventCall]) -> dict[int, list[EventCall]]:
    lanes: defaultdict[int, list[EventCall]] = defaultdict(list)
    for call in calls:
        lanes[call.lane_id].append(call)
    return dict(lanes)


def bundle_lanes(lanes: dict[int, list[EventCall]], *, size: int) -> list[dict[int, list[EventCall]]]:
    """Whole lanes put together so that a bundle fills requests of `size` events; one lane each where size is 1."""
    bundles: list[dict[int, list[EventCall]]] = []
    held = size
    for lane_id, calls in lanes.items():
        if not bundles or held + len(calls) > size:
            bundles.append({})
            held = 0
        bundles[-1][lane_id] = calls
        held += len(calls)
    return bundles
