"""The high-throughput stream of meter events (API v2): a session's token, then batches that are checked afterwards."""

from __future__ import annotations

import secrets
from datetime import datetime

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.events import format_instant
from sandbox.engine.routing import operation
from sandbox.resources.meter_errors import Refusal, report_refusals
from sandbox.resources.meter_events import record_event

SESSION_SECONDS = 15 * 60
MAX_STREAMED = 100
REFUSED = "_meter_event_error"
DUPLICATE = "duplicate_meter_event"


@operation("POST", "/v2/billing/meter_event_session", params="v2.billing.MeterEventSessionCreateParams")
def create_meter_event_session(ctx: Context) -> JsonObject:
    """A token for the stream, good for 15 minutes."""
    now = ctx.now()
    session_id = ctx.store.new_id("mes_test")
    token = f"token_{secrets.token_urlsafe(32)}"
    expires_at = now + SESSION_SECONDS
    ctx.store.put("_meter_event_session", {"id": token, "expires_at": expires_at})
    return {
        "id": session_id,
        "object": "v2.billing.meter_event_session",
        "authentication_token": token,
        "created": format_instant(now),
        "expires_at": format_instant(expires_at),
        "livemode": False,
    }


@operation(
    "POST", "/v2/billing/meter_event_stream", params="v2.billing.MeterEventStreamCreateParams", auth=False
)
def stream_meter_events(ctx: Context) -> JsonObject:
    """Take up to 100 events with a session's token. What is wrong with one is told later, by a thin event;
    one whose identifier was used within 24 hours is dropped without a word. `GET /_sandbox/meter_event_errors` lists
    both.

    Raises:
        StripeError: 401, the token is unknown or has expired; 400, there are more than 100 events.
    """
    session = ctx.store.get("_meter_event_session", ctx.api_key)
    if session is None or session["expires_at"] <= ctx.now():
        raise StripeError(
            401,
            "The meter event session is unknown or has expired.",
            type="temporary_session_expired",
            code="billing_meter_event_session_expired",
        )
    events = ctx.params["events"]
    if len(events) > MAX_STREAMED:
        raise invalid("events", f"Up to {MAX_STREAMED} events are supported per request.", "too_many_events")
    refused = [refusal for event in events if (refusal := _record_streamed(ctx, event)) is not None]
    report_refusals(ctx, [refusal for refusal in refused if refusal.code != DUPLICATE])
    return {}


def _record_streamed(ctx: Context, event: JsonObject) -> Refusal | None:
    given = dict(event)
    try:
        if "timestamp" in given:
            given["timestamp"] = _epoch(given["timestamp"])
        record_event(ctx, given)
    except StripeError as error:
        row = {"id": ctx.store.new_id("mee"), "code": error.code, "message": error.message, "event": event}
        ctx.store.put(REFUSED, row)
        return Refusal(event["event_name"], event.get("identifier", ""), error.code or "", error.message)
    return None


def _epoch(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        raise invalid("timestamp", f"Invalid timestamp: {text}; must be an ISO 8601 time") from None


@operation("POST", "/_sandbox/meter_event_sessions/expire", auth=False)
def expire_sessions(ctx: Context) -> JsonObject:
    """End every meter event session before its time"""
    sessions = ctx.store.all("_meter_event_session")
    for session in sessions:
        ctx.store.put("_meter_event_session", {**session, "expires_at": ctx.now()})
    return {"expired": len(sessions)}


@operation("GET", "/_sandbox/meter_event_errors", auth=False)
def list_refused_events(ctx: Context) -> JsonObject:
    """The streamed events that were refused, oldest first, each with its reason (at most the last 1,000)."""
    return {"data": ctx.store.all(REFUSED)[-1_000:]}
