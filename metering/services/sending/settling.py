"""Write down what calls meant, and give the lanes back. Every write is conditional on the claim still being ours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce

from billing_worker.alerts.metrics import METER_EVENTS
from billing_worker.alerts.services import raise_alert
from billing_worker.alerts.states import AlertName
from metering.models import MeterEvent
from metering.services.sending.attempts import Outcome, OutcomeKind
from metering.services.sending.claims import release_lanes
from metering.services.sending.limits import compute_backoff
from metering.states import EventState

_STATES = {
    OutcomeKind.SENT: EventState.SENT,
    OutcomeKind.RETRY: EventState.PENDING,
    OutcomeKind.UNRESOLVED: EventState.UNRESOLVED,
    OutcomeKind.FOREIGN: EventState.UNRESOLVED,
    OutcomeKind.REJECTED: EventState.REJECTED,
    OutcomeKind.EXPIRED: EventState.EXPIRED,
    OutcomeKind.RELEASED: EventState.PENDING,
}
_LATER = (OutcomeKind.RETRY, OutcomeKind.UNRESOLVED, OutcomeKind.FOREIGN)


@transaction.atomic
def settle(outcomes: Sequence[Outcome], *, lane_ids: Collection[int], token: str, now: datetime) -> None:
    """Record the outcomes of one claim and free its lanes, in one transaction.

    A row that another sender has taken over meanwhile (our lease ran out) is left alone.
    """
    groups: defaultdict[tuple[OutcomeKind, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.kind, outcome.reason].append(outcome)
    for (kind, reason), group in groups.items():
        _settle_group(kind, reason[:500], group, token, now)
    release_lanes(lane_ids, token=token)


def _settle_group(
    kind: OutcomeKind, reason: str, group: Sequence[Outcome], token: str, now: datetime
) -> None:
    claimed = MeterEvent.objects.filter(claim_token=token, state=EventState.SENDING)
    changes: dict[str, Any] = {"state": _STATES[kind], "claim_token": "", "reason": reason}
    if kind is not OutcomeKind.RELEASED:
        changes["attempts"] = F("attempts") + 1
    if kind is OutcomeKind.SENT:
        changes |= {"sent_at": now, "next_attempt_at": None}
    if kind is OutcomeKind.UNRESOLVED:
        changes["uncertain_at"] = Coalesce("uncertain_at", "claimed_at")
    if kind in _LATER:
        for outcome in group:
            delay = compute_backoff(outcome.call.attempts)
            claimed.filter(pk=outcome.call.pk).update(**changes, next_attempt_at=now + delay)
    else:
        claimed.filter(pk__in=[outcome.call.pk for outcome in group]).update(**changes)
    for outcome in group:
        METER_EVENTS.labels(usage_type=outcome.call.event_name, state=kind.value).inc()
    if kind in (OutcomeKind.REJECTED, OutcomeKind.EXPIRED):
        _alert(kind, reason, group, now)


def _alert(kind: OutcomeKind, reason: str, group: Sequence[Outcome], now: datetime) -> None:
    name = AlertName.METER_EVENT_REJECTED if kind is OutcomeKind.REJECTED else AlertName.METER_EVENT_EXPIRED
    by_customer: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in group:
        by_customer[outcome.call.customer].append(outcome)
    for customer, rows in by_customer.items():
        raise_alert(
            name=name,
            severity="critical",
            subject=f"customer {customer}",
            detail=f"{len(rows)} meter events, first {rows[0].call.identifier}: {reason}",
            now=now,
        )
