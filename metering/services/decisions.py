"""What a person (or Stripe, later) decides about single meter events. Every decision is audited with its reason."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q

from billing_worker.accounts.audit import record_audit
from billing_worker.alerts.services import raise_alert
from billing_worker.alerts.states import AlertName
from billing_worker.core.errors import InvalidInput
from metering.models import MeterEvent
from metering.states import EventState

MAX_REASON = 400
#: Stripe promises that an identifier is unique for at least 24 hours; a repeat is made well after.
IDENTIFIER_FORGOTTEN_AFTER = timedelta(hours=26)
#: Between Stripe's clock and ours, with much room.
CLOCKS_DIFFER_BY = timedelta(minutes=10)


class ReasonMissing(InvalidInput):
    """A decision about billing needs a sentence that says why. Type one beside the action."""

    code = "reason_missing"


def retry_events(*, ids: Collection[int], actor: str, reason: str, now: datetime) -> int:
    """Send refused events again at the next run, after their cause is mended. Returns how many were refused before."""
    return _decide(
        ids, [EventState.REJECTED], actor, reason, now,
        action="metering.event_retried",
        changes={"state": EventState.PENDING, "next_attempt_at": None, "uncertain_at": None},
    )  # fmt: skip


def mark_sent(*, ids: Collection[int], actor: str, reason: str, now: datetime) -> int:
    """A person has seen at Stripe that these were counted. Returns how many were open before."""
    return _decide(
        ids, [EventState.UNRESOLVED, EventState.REJECTED], actor, reason, now,
        action="metering.event_marked_sent",
        changes={"state": EventState.SENT, "sent_at": now, "next_attempt_at": None},
    )  # fmt: skip


def mark_not_sent(*, ids: Collection[int], actor: str, reason: str, now: datetime) -> int:
    """A person has seen at Stripe that these were not counted: they are sent again. Returns how many there were.

    What was once answered as taken waits until Stripe has surely forgotten the identifier: the stream would drop the
    repeat without a word.
    """
    doubtful = _decide(
        ids, [EventState.UNRESOLVED], actor, reason, now,
        action="metering.event_marked_not_sent",
        changes={"state": EventState.PENDING, "next_attempt_at": None, "uncertain_at": None},
    )  # fmt: skip
    taken = _decide(
        ids, [EventState.SENT], actor, reason, now,
        action="metering.event_marked_not_sent",
        changes={
            "state": EventState.PENDING, "sent_at": None, "uncertain_at": None,
            "next_attempt_at": now + IDENTIFIER_FORGOTTEN_AFTER,
        },
    )  # fmt: skip
    return doubtful + taken


def give_up_events(*, ids: Collection[int], actor: str, reason: str, now: datetime) -> int:
    """Never bill these: what waits, was refused, is unknown or too old is skipped for good. Returns how many."""
    waiting = [
        EventState.SHADOW,
        EventState.PENDING,
        EventState.UNRESOLVED,
        EventState.REJECTED,
        EventState.EXPIRED,
    ]
    return _decide(
        ids, waiting, actor, reason, now,
        action="metering.event_given_up",
        changes={"state": EventState.SKIPPED},
    )  # fmt: skip


@transaction.atomic
def _decide(
    ids: Collection[int],
    allowed: Collection[EventState],
    actor: str,
    reason: str,
    now: datetime,
    *,
    action: str,
    changes: dict[str, Any],
) -> int:
    """Move those of the events that are in an allowed state, each with its audit entry.

    Raises:
        ReasonMissing: no reason was given.
    """
    reason = reason.strip()[:MAX_REASON]
    if not reason:
        raise ReasonMissing("say why: the reason is kept with the event", fields={"reason": ["is missing"]})
    events = list(MeterEvent.objects.select_for_update().filter(pk__in=ids, state__in=allowed).order_by("pk"))
    for event in events:
        record_audit(
            actor=actor,
            action=action,
            subject_type="meter_event",
            subject_id=event.identifier,
            at=now,
            reason=reason,
            before={"state": event.state, "value": event.value},
            after={"state": changes["state"]},
        )
    MeterEvent.objects.filter(pk__in=[event.pk for event in events]).update(**changes, reason=reason)
    return len(events)


@transaction.atomic
def reject_reported(
    *, identifiers: Collection[str], summary: str, subject: str, told_at: datetime, now: datetime
) -> int:
    """Stripe took these events and refused them later: they count for nothing. Alerts; returns how many were ours.

    The report may come before the sender has settled its request, or settle one whose outcome nobody knew. One made (at
    `told_at`, Stripe's time) before an event was last attempted is about an attempt before that: it came late or is
    replayed, and the event may be counted by now. On a test clock the two times have nothing to do with each other.
    """
    taken = Q(state__in=[EventState.SENT, EventState.SENDING, EventState.UNRESOLVED]) | Q(
        state=EventState.PENDING, uncertain_at__isnull=False
    )
    later = Q(claimed_at__gt=told_at + CLOCKS_DIFFER_BY)
    named = MeterEvent.objects.filter(taken, identifier__in=identifiers)
    outdated = named.filter(later, payer__test_clock__isnull=True).values_list("pk", flat=True)
    rejected = named.exclude(pk__in=list(outdated)).update(
        state=EventState.REJECTED, reason=f"refused later by Stripe: {summary}"[:500]
    )
    raise_alert(
        name=AlertName.METER_EVENT_REJECTED,
        severity="critical",
        subject=subject,
        detail=f"Stripe refused meter events after it had taken them: {summary}. {rejected} of ours are named",
        now=now,
        context={"identifiers": sorted(identifiers)[:50]},
    )
    return rejected
