"""The inbox's writer: take events in, whoever brings them, exactly once; and put them back for another try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from billing_worker import gateway
from billing_worker.alerts.kicks import send_kick
from billing_worker.alerts.metrics import EVENTS_BACKFILLED, WEBHOOKS_RECEIVED
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import AlertName, Severity
from billing_worker.core.errors import InvalidInput
from billing_worker.webhooks.models import InboxEvent
from billing_worker.webhooks.parsing import Envelope, parse_envelope
from billing_worker.webhooks.registry import is_taken
from billing_worker.webhooks.selectors import count_waiting, list_known_ids
from billing_worker.webhooks.states import InboxState

log = structlog.get_logger(__name__)

#: Up to so many waiting events each one wakes a worker. Above the number of requests at once (processes x threads), so
#: that of events which arrive together and all see each other at least one kicks.
KICKS_FOR_EACH = 32
#: Beyond that one more worker is woken for one in so many: a burst wakes several and does not flood the broker.
EVENTS_PER_KICK = 25
#: What Stripe keeps. https://docs.stripe.com/api/events
LONGEST_BACKFILL = timedelta(days=30)
#: Events younger than this may still be on their way by webhook: finding them first is no gap.
GAP_AGE = timedelta(minutes=10)
#: How long settled events are kept: well past the 30 days in which a backfill could bring them again.
RETENTION = timedelta(days=90)
_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a delivery. `event` is None for a duplicate."""

    event: InboxEvent | None
    is_duplicate: bool


def receive_event(
    *, payload: Mapping[str, Any], text: str, now: datetime, source: str = "webhook"
) -> Receipt:
    """Store an event unless it is here already, and wake a worker after the commit.

    `text` is the event as it came and is what is kept. A type that nothing takes is stored as ignored; so is
    an event of the other mode (a test event where the key is live, or the reverse), with an alert.

    Raises:
        NotAnEvent: the payload is something else.
    """
    envelope = parse_envelope(payload)
    taken = is_taken(envelope.type) and is_of_our_mode(is_live=envelope.is_live)
    event = _insert(envelope, text=text, now=now, source=source, taken=taken)
    if event is not None and not is_of_our_mode(is_live=envelope.is_live):
        _alert_wrong_mode(event, now=now)
    outcome = "duplicate" if event is None else "stored" if taken else "ignored"
    WEBHOOKS_RECEIVED.labels(type=envelope.type if taken else "other", outcome=outcome).inc()
    if event is not None and taken:
        transaction.on_commit(lambda: _wake_worker(event.pk, now=now))
    return Receipt(event=event, is_duplicate=event is None)


def is_of_our_mode(*, is_live: bool) -> bool:
    """Whether an event belongs to the mode that our key works in. Without a key there is nothing to hold it against."""
    env = settings.ENV
    return env.STRIPE_SECRET_KEY is None or is_live == env.has_live_key


def replay_events(*, events: QuerySet[InboxEvent], now: datetime) -> int:
    """Put settled events (processed, failed or ignored) back into the queue. Returns how many.

    Events of the other mode stay ignored.
    Receivers are safe to run twice, and an old event never overwrites a newer state, so a replay only repairs.
    """
    settled = events.filter(state__in=[InboxState.PROCESSED, InboxState.FAILED, InboxState.IGNORED])
    modes = [mode for mode in (True, False) if is_of_our_mode(is_live=mode)]
    ours = settled.filter(is_live__in=modes)
    count = InboxEvent.objects.filter(pk__in=list(ours.values_list("pk", flat=True))).update(
        state=InboxState.RECEIVED, next_attempt_at=now, attempts=0, processed_at=None
    )
    if count:
        send_kick("webhooks.process_inbox")
    return count


def backfill_events(*, since: datetime, now: datetime, types: Sequence[str] | None = None) -> tuple[int, int]:
    """Bring in what Stripe recorded since an instant and no webhook brought: `(seen, added)`.

    Stripe's times decide, so events on a test clock are found by the clock's time. An event that is older than ten
    minutes and was not here was lost on the way: that raises an alert.

    Raises:
        InvalidInput: `since` lies more than 30 days back, where Stripe remembers nothing.
        GatewayError: Stripe could not be asked.
    """
    if now - since > LONGEST_BACKFILL:
        raise InvalidInput("Stripe keeps events for 30 days: give a later --since")
    seen, added, lost = 0, 0, 0
    recorded = gateway.list_events(created_from=since, types=types)
    while page := list(islice(recorded, _PAGE)):
        seen += len(page)
        fresh = _store_missing(page, now=now)
        added += len(fresh)
        lost += sum(now - event.event_created_at > GAP_AGE for event in fresh)
    if added:
        EVENTS_BACKFILLED.inc(added)
        send_kick("webhooks.process_inbox")
    if lost:
        raise_alert(
            name=AlertName.WEBHOOK_GAP,
            severity=Severity.WARNING,
            subject="stripe events",
            detail=f"{lost} event(s) since {since:%Y-%m-%d %H:%M} UTC never came by webhook and were fetched instead. "
            "Check the endpoint in Stripe's dashboard.",
            now=now,
            context={"since": since.isoformat(), "lost": lost},
        )
    elif types is None:
        # Else the next gap, weeks later, would be one more of an alert that everybody has seen.
        resolve_alert(name=AlertName.WEBHOOK_GAP, subject="stripe events", now=now)
    log.info("events_backfilled", since=since.isoformat(), seen=seen, added=added)
    return seen, added


def prune_inbox(*, now: datetime) -> int:
    """Delete what was settled long ago (processed and ignored, never failed). Returns how many.

    Later than Stripe forgets: an event that a backfill could bring again is still known here.
    """
    settled = InboxEvent.objects.filter(
        state__in=[InboxState.PROCESSED, InboxState.IGNORED], received_at__lt=now - RETENTION
    )
    pruned = 0
    while keys := list(settled.order_by("received_at").values_list("pk", flat=True)[:1000]):
        # In portions, each its own transaction: one long delete would hold up the deliveries.
        pruned += InboxEvent.objects.filter(pk__in=keys).delete()[0]
    return pruned


def _store_missing(page: Sequence[Mapping[str, Any]], *, now: datetime) -> list[InboxEvent]:
    known = list_known_ids([event["id"] for event in page])
    stored = []
    for payload in page:
        if payload["id"] in known:
            continue
        envelope = parse_envelope(payload)
        event = _insert(
            envelope,
            text=gateway.dumps(payload),
            now=now,
            source="backfill",
            taken=is_taken(envelope.type) and is_of_our_mode(is_live=envelope.is_live),
        )
        if event is not None and event.state == InboxState.RECEIVED:
            stored.append(event)
    return stored


def _insert(envelope: Envelope, *, text: str, now: datetime, source: str, taken: bool) -> InboxEvent | None:
    """Insert or find that it is here. The unique key decides, also between two deliveries at the same instant."""
    try:
        with transaction.atomic():
            return InboxEvent.objects.create(
                event_id=envelope.id,
                type=envelope.type,
                state=InboxState.RECEIVED if taken else InboxState.IGNORED,
                source=source,
                payload=text,
                object_id=envelope.object_id,
                customer=envelope.customer,
                api_version=envelope.api_version,
                is_live=envelope.is_live,
                event_created_at=envelope.created_at,
                received_at=now,
                next_attempt_at=now if taken else None,
            )
    except IntegrityError:
        if not InboxEvent.objects.filter(event_id=envelope.id).exists():
            raise
        return None


def _alert_wrong_mode(event: InboxEvent, *, now: datetime) -> None:
    told, ours = ("live", "test") if event.is_live else ("test", "live")
    raise_alert(
        name="webhook_wrong_mode",
        severity=Severity.CRITICAL,
        subject="stripe events",
        detail=f"{event.type} {event.event_id} is a {told}-mode event and STRIPE_SECRET_KEY is a {ours} key: it was "
        f"kept and ignored. Take the {told} endpoint's secret out of STRIPE_WEBHOOK_SECRET, or point it elsewhere.",
        now=now,
        context={"event_id": event.event_id},
    )


def _wake_worker(inbox_id: int, *, now: datetime) -> None:
    """Kick for each event while few wait, and while many do for one in so many.

    A worker that is awake takes whatever is due before it rests, so a kick for each event would only cost the broker.
    """
    is_one_in_many = inbox_id % EVENTS_PER_KICK == 0
    if is_one_in_many or count_waiting(now=now, up_to=KICKS_FOR_EACH + 1) <= KICKS_FOR_EACH:
        send_kick("webhooks.process_inbox")
