"""The worker's side of the inbox: claim, mirror, run the receivers, settle.

Every step may be the last before a kill. A claim is a committed conditional update, so two workers never hold the same
event while the claim is fresh; effects and the mark `processed` are one transaction that checks the claim's token under
a row lock, so a worker that was taken for dead has no effects. Events of one customer take turns on a lock row.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Any

import structlog
from django.db import transaction

from billing_worker import gateway
from billing_worker.alerts.metrics import EVENT_SECONDS, EVENTS_PROCESSED
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import AlertName, Severity
from billing_worker.mirror.raw_copies import copy_object
from billing_worker.mirror.services import NeedsReading, Reading, apply_payload, read_object
from billing_worker.webhooks.models import CustomerLock, InboxEvent
from billing_worker.webhooks.parsing import THIN, Envelope, parse_envelope
from billing_worker.webhooks.registry import StripeEvent, get_receivers
from billing_worker.webhooks.selectors import is_row_due
from billing_worker.webhooks.states import MAX_ATTEMPTS, InboxState, get_pause

log = structlog.get_logger(__name__)

#: Readings of one object before the event is put off: each repetition means that someone else wrote it meanwhile.
_MAX_READINGS = 4


class LostClaim(Exception):
    """Another worker took this event while we were busy; our transaction is rolled back and theirs counts."""


class WorkerLost(Exception):
    """Every worker that took this event died of it: it must not take the next ones, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Our hold on one inbox row. `token` is void as soon as another worker claims the row."""

    row: InboxEvent
    token: str


def process_event(*, inbox_id: int, now: datetime) -> str:
    """Process one event by its key, see `process_row`. `skipped` if there is none."""
    row = InboxEvent.objects.filter(pk=inbox_id).first()
    return "skipped" if row is None else process_row(row, now=now)


def process_row(row: InboxEvent, *, now: datetime) -> str:
    """Process one event, as it was read, if it is due still; and say what became of it.

    `processed`, `retried` (an error; due again after a pause), `failed` (the last attempt; alerted) or `skipped`
    (not due, or another worker has it). Errors are recorded on the row and never raised.
    """
    claim = claim_event(row, now=now)
    if claim is None:
        return "skipped"
    started = perf_counter()
    try:
        if claim.row.attempts > MAX_ATTEMPTS:
            raise WorkerLost("the worker died while it processed this event, again at the last attempt")
        outcome = _work(claim, now=now)
    except Exception as error:  # noqa: BLE001 - a receiver may raise anything; the row is where it is answered for
        outcome = _put_off(claim, error, now=now)
    kind = claim.row.type
    EVENTS_PROCESSED.labels(type=kind, outcome=outcome).inc()
    EVENT_SECONDS.labels(type=kind).observe(perf_counter() - started)
    return outcome


def claim_event(row: InboxEvent, *, now: datetime) -> Claim | None:
    """Take an event for this worker, committed before anything is done with it. None if it is not due any more.

    One statement: the row is as it was read, unless it was claimed since, and then its token says so.
    """
    if not is_row_due(row, now=now):
        return None
    token = secrets.token_hex(16)
    unchanged = InboxEvent.objects.filter(pk=row.pk, state=row.state, claim_token=row.claim_token)
    attempts = row.attempts + 1
    if not unchanged.update(
        state=InboxState.PROCESSING, claim_token=token, claimed_at=now, attempts=attempts
    ):
        return None
    row.state, row.claim_token, row.claimed_at, row.attempts = InboxState.PROCESSING, token, now, attempts
    return Claim(row=row, token=token)


def _work(claim: Claim, *, now: datetime) -> str:
    envelope = _complete(parse_envelope(gateway.loads(claim.row.payload)))
    is_copied = copy_object(
        envelope.content,
        event_created_at=envelope.created_at,
        now=now,
        is_deleted=envelope.type.endswith(".deleted") and envelope.content.get("object") != "subscription",
    )
    reading: Reading | None = None
    for _ in range(_MAX_READINGS):
        try:
            _settle(claim, envelope, reading=reading, is_copied=is_copied, now=now)
        except NeedsReading as need:
            reading = read_object(need)
        except LostClaim:
            log.warning("claim_lost", event_id=claim.row.event_id)
            return "skipped"
        else:
            if claim.row.last_error:
                resolve_alert(
                    name=AlertName.WEBHOOK_EVENT_FAILED, subject=claim.row.event_id, now=now, by="worker"
                )
            return "processed"
    raise RuntimeError(f"{envelope.content.get('id')} kept changing while it was read {_MAX_READINGS} times")


def _complete(envelope: Envelope) -> Envelope:
    """A thin event as Stripe has it: what was delivered says only that there is something to fetch."""
    if envelope.content.get("object") != THIN or "data" in envelope.content:
        return envelope
    return parse_envelope(gateway.get_thin_event(envelope.id))


def _settle(
    claim: Claim, envelope: Envelope, *, reading: Reading | None, is_copied: bool, now: datetime
) -> None:
    """Projection, receivers and the mark `processed`: all or nothing, and only under our claim."""
    with _take_turn(envelope.customer):
        # First, because the conditional update both checks the claim and locks the row until the commit.
        settled = InboxEvent.objects.filter(
            pk=claim.row.pk, state=InboxState.PROCESSING, claim_token=claim.token
        ).update(
            state=InboxState.PROCESSED,
            processed_at=now,
            mirrored_at=now if is_copied else None,
            next_attempt_at=None,
            last_error="",
        )
        if not settled:
            raise LostClaim
        apply_payload(
            envelope.content,
            event_created_at=envelope.created_at,
            is_foreign_version=envelope.api_version not in ("", gateway.STRIPE_API_VERSION),
            reading=reading,
        )
        _run_receivers(envelope, now=now)


@contextmanager
def _take_turn(customer: str) -> Iterator[None]:
    """A transaction that waits for any other about the same customer.

    The lock row is committed before: two workers inserting it inside their transactions would deadlock.
    """
    with ExitStack() as held:
        held.enter_context(transaction.atomic())
        if customer and not _lock(customer):
            held.close()
            CustomerLock.objects.bulk_create([CustomerLock(customer=customer)], ignore_conflicts=True)
            held.enter_context(transaction.atomic())
            _lock(customer)
        yield


def _lock(customer: str) -> bool:
    """Hold the customer's lock row until the transaction ends. False if it has none yet."""
    locks = CustomerLock.objects.select_for_update().filter(customer=customer)
    return bool(locks.values_list("pk", flat=True))


def _run_receivers(envelope: Envelope, *, now: datetime) -> None:
    receivers = get_receivers(envelope.type)
    if not receivers:
        return
    event = StripeEvent(
        id=envelope.id,
        type=envelope.type,
        created_at=envelope.created_at,
        object=envelope.content,
        previous_attributes=envelope.previous_attributes,
        customer=envelope.customer or None,
        now=now,
    )
    for receiver in receivers:
        receiver(event)


def _put_off(claim: Claim, error: Exception, *, now: datetime) -> str:
    """Record the error; due again after a pause, or failed and alerted after the last attempt."""
    row = claim.row
    is_last = row.attempts >= MAX_ATTEMPTS
    message = f"{type(error).__name__}: {error}"[:4000]
    changes: dict[str, Any] = {"last_error": message}
    if is_last:
        changes |= {"state": InboxState.FAILED, "next_attempt_at": None}
    else:
        changes |= {"state": InboxState.RECEIVED, "next_attempt_at": now + get_pause(row.attempts)}
    # Conditional: if another worker has taken the event over meanwhile, its outcome counts and not ours.
    InboxEvent.objects.filter(pk=row.pk, state=InboxState.PROCESSING, claim_token=claim.token).update(
        **changes
    )
    expected = isinstance(error, gateway.GatewayError)
    log.warning(
        "event_put_off",
        event_id=row.event_id,
        type=row.type,
        attempts=row.attempts,
        error=message,
        exc_info=None if expected else error,
    )
    if is_last:
        raise_alert(
            name=AlertName.WEBHOOK_EVENT_FAILED,
            severity=Severity.CRITICAL,
            subject=row.event_id,
            detail=f"{row.type} failed {row.attempts} times: {message} "
            f"Fix the cause, then: manage.py replay_events --id {row.event_id}",
            now=now,
            context={"type": row.type, "object_id": row.object_id},
        )
    return "failed" if is_last else "retried"
