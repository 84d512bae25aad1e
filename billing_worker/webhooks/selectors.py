"""Reading the inbox."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Count, Min, Q

from billing_worker.webhooks.models import InboxEvent
from billing_worker.webhooks.states import CLAIM_TIMEOUT, InboxState


def is_due(now: datetime) -> Q:
    """Rows that a worker may claim: waiting and due, or claimed by a worker that seems to have died."""
    return Q(state=InboxState.RECEIVED, next_attempt_at__lte=now) | Q(
        state=InboxState.PROCESSING, claimed_at__lt=now - CLAIM_TIMEOUT
    )


def is_row_due(row: InboxEvent, *, now: datetime) -> bool:
    """`is_due` for a row that was read."""
    if row.state == InboxState.RECEIVED:
        return row.next_attempt_at is not None and row.next_attempt_at <= now
    if row.state != InboxState.PROCESSING or row.claimed_at is None:
        return False
    return row.claimed_at < now - CLAIM_TIMEOUT


def list_due(*, now: datetime, limit: int) -> list[InboxEvent]:
    """The rows to process next, in Stripe's order, so that fewer events turn out to be late.

    Two questions, so that each is answered from an index in that order: as one, the database sorted all that waits,
    payloads included, for every few rows of a backlog.
    """
    waiting = InboxEvent.objects.filter(state=InboxState.RECEIVED, next_attempt_at__lte=now)
    abandoned = InboxEvent.objects.filter(state=InboxState.PROCESSING, claimed_at__lt=now - CLAIM_TIMEOUT)
    found = [row for rows in (waiting, abandoned) for row in rows.order_by("event_created_at", "pk")[:limit]]
    return sorted(found, key=lambda row: (row.event_created_at, row.pk))[:limit]


def has_due(*, now: datetime) -> bool:
    """Whether there is anything to process."""
    return InboxEvent.objects.filter(is_due(now)).exists()


def count_waiting(*, now: datetime, up_to: int) -> int:
    """How many events wait for a worker now; those paused after an error do not count. Stops counting at `up_to`.

    So it costs the same whether a thousand wait or none: it is asked for each event that comes in.
    """
    waiting = InboxEvent.objects.filter(state=InboxState.RECEIVED, next_attempt_at__lte=now).order_by()
    return len(waiting.values_list("pk", flat=True)[:up_to])


def count_states() -> dict[str, int]:
    """Inbox rows by state; every state is there."""
    counts = dict.fromkeys(InboxState.values, 0)
    counts.update(InboxEvent.objects.order_by().values_list("state").annotate(count=Count("pk")))
    return counts


def get_oldest_waiting(*, now: datetime) -> datetime | None:
    """When the event that has been due the longest became due; None if nothing waits."""
    waiting = InboxEvent.objects.filter(state=InboxState.RECEIVED, next_attempt_at__lte=now)
    oldest: datetime | None = waiting.aggregate(oldest=Min("next_attempt_at"))["oldest"]
    return oldest


def count_unsettled(*, customer: str | None = None) -> int:
    """Events that are not through yet (received or processing), of one customer or of all."""
    unsettled = InboxEvent.objects.filter(state__in=[InboxState.RECEIVED, InboxState.PROCESSING])
    return (unsettled if customer is None else unsettled.filter(customer=customer)).count()


def list_known_ids(event_ids: list[str]) -> set[str]:
    """Which of these Stripe event ids the inbox holds."""
    return set(InboxEvent.objects.filter(event_id__in=event_ids).values_list("event_id", flat=True))
