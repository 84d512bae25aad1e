"""When the inbox is worked on. Each task is safe to run any number of times at once."""

from __future__ import annotations

from datetime import timedelta
from random import randrange
from time import monotonic

from celery import shared_task
from django.utils import timezone

from billing_worker import gateway
from billing_worker.alerts.kicks import send_kick
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import AlertName, Severity
from billing_worker.webhooks import services
from billing_worker.webhooks.models import InboxEvent
from billing_worker.webhooks.processing import process_event as process_one
from billing_worker.webhooks.processing import process_row
from billing_worker.webhooks.selectors import get_oldest_waiting, has_due, list_due
from billing_worker.webhooks.states import BACKLOG_LIMIT

#: Rows read at once, payloads included.
_BATCH = 25
#: A task gives way after this long, so that a backlog does not keep a worker from everything else.
_SECONDS_PER_TASK = 20.0
#: Backfill looks this far back each hour: two lost runs lose nothing.
_BACKFILL_WINDOW = timedelta(hours=3)


def drain_inbox(*, seconds: float = _SECONDS_PER_TASK) -> dict[str, int]:
    """Process whatever is due until nothing is, or until the time is up. Counts by outcome."""
    counts: dict[str, int] = {}
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        due = list_due(now=timezone.now(), limit=_BATCH)
        if not due:
            break
        for row in _begin_anywhere(due):
            outcome = process_row(row, now=timezone.now())
            counts[outcome] = counts.get(outcome, 0) + 1
            if outcome == "skipped" or monotonic() >= deadline:
                # Another worker came this far, and what follows is probably done as well: look again.
                break
    return counts


def _begin_anywhere(due: list[InboxEvent]) -> list[InboxEvent]:
    """The rows from a random customer on, around to the one before it; each customer's own keep their order.

    Workers that drain at once read the same rows, and would otherwise try for each of them in step.
    """
    places = {customer: place for place, customer in enumerate(dict.fromkeys(row.customer for row in due))}
    start = randrange(len(places))
    return sorted(due, key=lambda row: (places[row.customer] - start) % len(places))


@shared_task(name="webhooks.process_inbox")
def process_inbox() -> dict[str, int]:
    """Drain the inbox; hand over to another task when the time is up before the work is."""
    counts = drain_inbox()
    if sum(counts.values()) > counts.get("skipped", 0) and has_due(now=timezone.now()):
        send_kick("webhooks.process_inbox")
    return counts


@shared_task(name="webhooks.process_event")
def process_event(inbox_id: int) -> str:
    """Process one event by its inbox key."""
    return process_one(inbox_id=inbox_id, now=timezone.now())


@shared_task(name="webhooks.sweep_inbox")
def sweep_inbox() -> dict[str, int]:
    """Find what a lost kick or a killed worker left behind, and say so if it has waited long."""
    now = timezone.now()
    oldest = get_oldest_waiting(now=now)
    if oldest is not None and now - oldest > BACKLOG_LIMIT:
        raise_alert(
            name=AlertName.WEBHOOK_BACKLOG,
            severity=Severity.CRITICAL,
            subject="inbox",
            detail=f"A Stripe event has waited since {oldest:%Y-%m-%d %H:%M} UTC: are enough workers running?",
            now=now,
        )
    else:
        resolve_alert(name=AlertName.WEBHOOK_BACKLOG, subject="inbox", now=now)
    return drain_inbox()


@shared_task(name="webhooks.backfill_events")
def backfill_events() -> dict[str, int]:
    """Fetch what Stripe recorded in the last hours and no webhook brought. Nothing without a key."""
    if not gateway.is_configured():
        return {"seen": 0, "added": 0}
    now = timezone.now()
    seen, added = services.backfill_events(since=now - _BACKFILL_WINDOW, now=now)
    return {"seen": seen, "added": added}


@shared_task(name="webhooks.prune_inbox")
def prune_inbox() -> int:
    """Delete events that were settled months ago."""
    return services.prune_inbox(now=timezone.now())
