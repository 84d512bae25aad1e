"""What the inbox needs to know of an event before anyone processes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billing_worker import gateway
from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import to_utc

SNAPSHOT = "event"
#: Thin events (v2) name an object without carrying it. https://docs.stripe.com/event-destinations#thin-events
THIN = "v2.core.event"


class NotAnEvent(InvalidInput):
    """Signed, but not an event that this inbox can hold: the endpoint is registered for something else."""

    code = "not_an_event"
    http_status = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The outside of an event. `content` is its object; a thin event has none and is its own content."""

    id: str
    type: str
    created_at: datetime
    content: Mapping[str, Any]
    previous_attributes: Mapping[str, Any]
    object_id: str
    customer: str
    api_version: str
    is_live: bool


def parse_envelope(payload: Mapping[str, Any]) -> Envelope:
    """Read an event's envelope, snapshot or thin.

    Raises:
        NotAnEvent: it is neither, or lacks what every event has.
    """
    try:
        if payload.get("object") == SNAPSHOT:
            return _parse_snapshot(payload)
        if payload.get("object") == THIN:
            return _parse_thin(payload)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise NotAnEvent(f"the event is malformed: {type(error).__name__} {error}") from error
    raise NotAnEvent(f"the body's object is {str(payload.get('object'))[:40]!r}, not an event")


def _parse_snapshot(payload: Mapping[str, Any]) -> Envelope:
    data = payload["data"]
    content = data["object"]
    created_at = gateway.parse_instant(payload["created"])
    if created_at is None:
        raise ValueError("created is missing")
    return Envelope(
        id=_check(payload["id"], 64),
        type=_check(payload["type"], 100),
        created_at=created_at,
        content=content,
        previous_attributes=data.get("previous_attributes") or {},
        object_id=str(content.get("id") or "")[:100],
        customer=_find_customer(content),
        api_version=str(payload.get("api_version") or "")[:40],
        is_live=bool(payload.get("livemode")),
    )


def _parse_thin(payload: Mapping[str, Any]) -> Envelope:
    related = payload.get("related_object") or {}
    return Envelope(
        id=_check(payload["id"], 64),
        type=_check(payload["type"], 100),
        created_at=to_utc(datetime.fromisoformat(payload["created"])),
        content=payload,
        previous_attributes={},
        object_id=str(related.get("id") or "")[:100],
        customer="",
        api_version="",
        is_live=bool(payload.get("livemode")),
    )


def _find_customer(content: Mapping[str, Any]) -> str:
    """The customer whose events must take turns with this one; empty for objects of no customer."""
    if content.get("object") == "customer":
        return str(content["id"])[:64]
    return (gateway.get_id(content.get("customer")) or "")[:64]


def _check(value: object, length: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= length:
        raise ValueError(f"{str(value)[:20]!r} is not a text of 1 to {length} characters")
    return value
