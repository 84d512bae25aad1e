"""Events: what happened, with a snapshot of the object as it was then."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sandbox.engine.errors import JsonObject, StripeError
from sandbox.engine.params import API_VERSION
from sandbox.engine.shapes import complete

if TYPE_CHECKING:
    from sandbox.engine.context import Context
    from sandbox.engine.store import Store
    from sandbox.engine.webhooks import Deliveries

#: Thin events name an object without carrying it; what there is to know is fetched from `/v2/core/events/{id}`.
THIN = "v2.core.event"


class EventLog:
    """Records events and hands them to the deliveries.

    The record in memory is small; the snapshot (``data``) is a text on disk.
    """

    def __init__(self, store: Store, deliveries: Deliveries) -> None:
        self._store = store
        self._deliveries = deliveries

    def record(
        self,
        ctx: Context,
        event_type: str,
        obj: JsonObject,
        previous: JsonObject | None = None,
        at: int | None = None,
    ) -> JsonObject:
        """Record one event and queue it for every endpoint that listens. Returns the record (without ``data``)."""
        snapshot = (
            obj if obj.get("deleted") and "created" not in obj else complete(obj.get("object", ""), obj)
        )
        data: JsonObject = {"object": snapshot}
        if previous is not None:
            data["previous_attributes"] = previous
        created = at if at is not None else ctx.now_for(_customer_of(obj))
        record: JsonObject = {
            "id": self._store.new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": created,
            "livemode": False,
            "pending_webhooks": 0,
            "request": {"id": ctx.request_id, "idempotency_key": ctx.idempotency_key},
            "type": event_type,
        }
        self._store.put_text("event", record["id"], json.dumps(data, ensure_ascii=False))
        record["pending_webhooks"] = self._deliveries.queue(record)
        self._store.put("event", record)
        return record

    def record_thin(
        self, ctx: Context, event_type: str, data: JsonObject, related: JsonObject | None
    ) -> None:
        """Record a thin event and queue it. What is delivered has no ``data``, as at Stripe."""
        record: JsonObject = {
            "id": self._store.new_id("evt_test"),
            "object": THIN,
            "type": event_type,
            "created": format_instant(ctx.now()),
            "livemode": False,
            "context": None,
            "reason": None,
        }
        if related is not None:
            record["related_object"] = related
        self._store.put_text(THIN, record["id"], json.dumps(data, ensure_ascii=False))
        self._store.put(THIN, record)
        self._deliveries.queue(record)

    def load(self, record: JsonObject) -> JsonObject:
        """Return the whole event, snapshot included."""
        return load_event(self._store, record)


def load_event(store: Store, record: JsonObject) -> JsonObject:
    """Return the event with its ``data``.

    Raises:
        StripeError: 500, the snapshot is gone (the state file was tampered with).
    """
    text = store.get_text(record["object"], record["id"])
    if text is None:
        raise StripeError(500, f"The snapshot of {record['id']} is missing.", type="api_error")
    event: dict[str, Any] = {**record, "data": json.loads(text)}
    return event


def format_instant(at: int) -> str:
    """Epoch seconds as API v2 writes them."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _customer_of(obj: JsonObject) -> str | None:
    """Find the customer whose clock dates the event."""
    if obj.get("object") == "customer":
        return obj.get("id")
    customer = obj.get("customer")
    if isinstance(customer, dict):
        return customer.get("id")
    return customer if isinstance(customer, str) else None
