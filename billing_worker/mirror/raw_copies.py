"""dj-stripe's tables as a cache of Stripe's raw objects.

dj-stripe's own way in (`Event.process`, `sync_from_stripe_data`) is not used: it calls Stripe in the middle of the
database transaction (and even writes there when a customer is deleted), copies the API key into a table, and swallows
errors in invoice lines. Here its models are filled from the payload alone: three or four statements, no key stored, and
one read only where a row that the database insists on (an invoice's customer) never came by.

A copy is a cache: nothing is billed, printed or reconciled from it. One that fails is noted in `RawCopy` and made again
from a fresh read; it never holds up the receivers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import DatabaseError, IntegrityError, models, transaction
from django.db.models import F, Q, Subquery
from djstripe.models import Customer, Invoice, Price, Product, Subscription

from billing_worker import gateway
from billing_worker.alerts.metrics import MIRROR_FAILURES
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import AlertName, Severity
from billing_worker.mirror.models import RawCopy
from billing_worker.mirror.states import INVOICE_RANK

log = structlog.get_logger(__name__)

MODELS: dict[str, Any] = {
    "customer": Customer,
    "product": Product,
    "price": Price,
    "subscription": Subscription,
    "invoice": Invoice,
}
#: What the database insists on: the parent's kind and where its id stands.
_PARENTS = {
    "price": ("product", "product"),
    "subscription": ("customer", "customer"),
    "invoice": ("customer", "customer"),
}
_PAUSES = tuple(timedelta(seconds=seconds) for seconds in (60, 300, 1800, 7200))
_ATTEMPTS_BEFORE_ALERT = 3


def copy_object(
    payload: Mapping[str, Any], *, event_created_at: datetime, now: datetime, is_deleted: bool = False
) -> bool:
    """Copy an event's object into dj-stripe's table, unless a newer event was copied. Call it outside transactions.

    False if it failed: that is noted, retried by `retry_copies` and alerted. Kinds without a table count as done.
    """
    kind = payload.get("object", "")
    if kind not in MODELS:
        return True
    try:
        _copy(kind, payload, event_created_at=event_created_at, now=now, is_deleted=is_deleted)
    except (gateway.GatewayError, DatabaseError, ValueError, TypeError, KeyError) as error:
        _note_failure(kind, payload["id"], error, event_created_at=event_created_at, now=now)
        return False
    return True


def retry_copies(*, copies: list[RawCopy], now: datetime) -> int:
    """Make copies that are behind again, from a fresh read. Returns how many are up to date now."""
    return sum(_retry(copy, now=now) for copy in copies)


def _retry(copy: RawCopy, *, now: datetime) -> bool:
    try:
        payload = gateway.read_payload(kind=copy.kind, id=copy.stripe_object_id)
    except gateway.GatewayNotFound:
        RawCopy.objects.filter(pk=copy.pk).update(next_attempt_at=None, last_error="gone at Stripe")
        _resolve(copy.kind, copy.stripe_object_id, now=now)
        return True
    except gateway.GatewayError as error:
        _note_failure(copy.kind, copy.stripe_object_id, error, event_created_at=copy.last_event_at, now=now)
        return False
    done = copy_object(
        payload, event_created_at=copy.last_event_at, now=now, is_deleted=bool(payload.get("deleted"))
    )
    if done:
        _resolve(copy.kind, copy.stripe_object_id, now=now)
    return done


def _copy(
    kind: str, payload: Mapping[str, Any], *, event_created_at: datetime, now: datetime, is_deleted: bool
) -> None:
    """Update if the event is news, create if it is the first, else leave it."""
    model = MODELS[kind]
    values = _describe(kind, payload, is_deleted=is_deleted)
    rank = INVOICE_RANK.get(payload.get("status") or "", 0) if kind == "invoice" else 0
    progress = {
        "last_event_at": event_created_at,
        "rank": rank,
        "copied_at": now,
        "failed_attempts": 0,
        "next_attempt_at": None,
        "last_error": "",
    }
    is_news = Q(last_event_at__lt=event_created_at) | Q(last_event_at=event_created_at, rank__lte=rank)
    copies = RawCopy.objects.filter(stripe_object_id=payload["id"])
    known = list(copies.values_list("copied_at", flat=True))
    if known and known[0] is not None:
        with transaction.atomic():
            # Conditional, so that the row lock also settles which of two workers writes last.
            if copies.filter(is_news, copied_at__isnull=False).update(**progress):
                model._default_manager.filter(id=payload["id"]).update(**values, djstripe_updated=now)
        return
    _ensure_parent(kind, payload, event_created_at=event_created_at, now=now)
    if not known and _insert(model, payload["id"], values, progress | {"kind": kind}):
        return
    with transaction.atomic():
        _upsert(model, payload["id"], values, now=now)
        RawCopy.objects.update_or_create(stripe_object_id=payload["id"], defaults={"kind": kind, **progress})


def _insert(
    model: type[models.Model], object_id: str, values: dict[str, Any], progress: dict[str, Any]
) -> bool:
    """The first copy of an object, as it nearly always is. False if one of its rows is there after all."""
    try:
        with transaction.atomic():
            model._default_manager.create(id=object_id, **values)
            RawCopy.objects.create(stripe_object_id=object_id, **progress)
    except IntegrityError:
        return False
    return True


def _upsert(model: type[models.Model], object_id: str, values: dict[str, Any], *, now: datetime) -> None:
    rows = model._default_manager.filter(id=object_id)
    changes = {**values, "djstripe_updated": now}
    if rows.update(**changes):
        return
    try:
        with transaction.atomic():
            model._default_manager.create(id=object_id, **values)
    except IntegrityError:
        if not rows.update(**changes):
            raise


def _describe(kind: str, payload: Mapping[str, Any], *, is_deleted: bool) -> dict[str, Any]:
    # Through JSON text once: fractions are `Decimal` here and a JSON column takes none.
    data = json.loads(gateway.dumps(payload))
    if is_deleted:
        data["deleted"] = True
    values: dict[str, Any] = {
        "stripe_data": data,
        "livemode": payload.get("livemode"),
        "created": gateway.parse_instant(payload.get("created")),
        "metadata": data.get("metadata") or {},
    }
    return values | _DESCRIBERS[kind](payload)


def _describe_customer(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {"email": payload.get("email") or ""}


def _describe_product(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": payload.get("name") or "", "active": bool(payload.get("active"))}


def _describe_price(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "active": bool(payload.get("active")),
        "currency": payload["currency"],
        "nickname": payload.get("nickname") or "",
        "lookup_key": payload.get("lookup_key"),
        "product_id": gateway.get_id(payload["product"]),
    }


def _describe_subscription(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {"customer_id": gateway.get_id(payload["customer"])}


def _describe_invoice(payload: Mapping[str, Any]) -> dict[str, Any]:
    # dj-stripe looks for the subscription where old API versions had it; here it is set once its row exists.
    parent = payload.get("parent") or {}
    subscription = gateway.get_id((parent.get("subscription_details") or {}).get("subscription"))
    return {
        "customer_id": gateway.get_id(payload["customer"]),
        "subscription_id": Subquery(Subscription.objects.filter(id=subscription).values("id")[:1]),
    }


_DESCRIBERS = {
    "customer": _describe_customer,
    "product": _describe_product,
    "price": _describe_price,
    "subscription": _describe_subscription,
    "invoice": _describe_invoice,
}


def _ensure_parent(
    kind: str, payload: Mapping[str, Any], *, event_created_at: datetime, now: datetime
) -> None:
    """Read the row that a foreign key needs, if it never came by. At most one request to Stripe."""
    if kind not in _PARENTS:
        return
    parent_kind, field = _PARENTS[kind]
    parent_id = gateway.get_id(payload[field])
    if parent_id is None or MODELS[parent_kind].objects.filter(id=parent_id).exists():
        return
    parent = gateway.read_payload(kind=parent_kind, id=parent_id)
    created_at = gateway.parse_instant(parent.get("created")) or event_created_at
    _copy(parent_kind, parent, event_created_at=created_at, now=now, is_deleted=bool(parent.get("deleted")))


def _note_failure(
    kind: str, object_id: str, error: Exception, *, event_created_at: datetime, now: datetime
) -> None:
    MIRROR_FAILURES.labels(kind=kind).inc()
    log.warning("raw_copy_failed", kind=kind, object_id=object_id, error=str(error))
    copy, _ = RawCopy.objects.get_or_create(
        stripe_object_id=object_id, defaults={"kind": kind, "last_event_at": event_created_at}
    )
    attempts = copy.failed_attempts + 1
    RawCopy.objects.filter(pk=copy.pk).update(
        failed_attempts=F("failed_attempts") + 1,
        last_error=f"{type(error).__name__}: {error}"[:2000],
        next_attempt_at=now + _PAUSES[min(attempts, len(_PAUSES)) - 1],
    )
    if attempts >= _ATTEMPTS_BEFORE_ALERT:
        raise_alert(
            name=AlertName.MIRROR_FAILED,
            severity=Severity.WARNING,
            subject=f"{kind} {object_id}",
            detail=f"dj-stripe's copy failed {attempts} times: {error}. Billing does not depend on it.",
            now=now,
        )


def _resolve(kind: str, object_id: str, *, now: datetime) -> None:
    resolve_alert(name=AlertName.MIRROR_FAILED, subject=f"{kind} {object_id}", now=now)
