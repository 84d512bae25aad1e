"""The high-throughput stream of meter events (API v2): a session's token, then batches that are checked afterwards."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.routing import operation
from sandbox.resources.meter_events import record_event

SESSION_SECONDS = 15 * 60
MAX_STREAMED = 100
REFUSED = "_meter_event_error"


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
        "created": _iso(now),
        "expires_at": _iso(expires_at),
        "livemode": False,
    }


@operation(
    "POST", "/v2/billing/meter_event_stream", params="v2.billing.MeterEventStreamCreateParams", auth=False
)
def stream_meter_events(ctx: Context) -> JsonObject:
    """Take up to 100 events with a session's token. Refused ones are dropped: Stripe reports them later;
    here `GET /_sandbox/meter_event_errors` lists them.

    Raises:
        StripeError: 401, the token is unknown or has expired; 400, there are more than 100 events.
    """
    session = ctx.store.get("_meter_event_session", ctx.api_key)
    if session is None or session["expires_at"] <= ctx.now():
        raise StripeError(
            401,
            "The meter event session is unknown or has expired.",
            code="billing_meter_event_session_expired",
        )
    events = ctx.params["events"]
    if len(events) > MAX_STREAMED:
        raise invalid("events", f"Up to {MAX_STREAMED} events are supported per request.", "too_many_events")
    for event in events:
        _record_streamed(ctx, event)
    return {}


def _record_streamed(ctx: Context, event: JsonObject) -> None:
    given = dict(event)
    try:
        if "timestamp" in given:
            given["timestamp"] = _epoch(given["timestamp"])
        record_event(ctx, given)
    except StripeError as refusal:
        error = {
            "id": ctx.store.new_id("mee"),
            "code": refusal.code,
            "message": refusal.message,
            "event": event,
        }
        ctx.store.put(REFUSED, error)


def _epoch(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        raise invalid("timestamp", f"Invalid timestamp: {text}; must be an ISO 8601 time") from None


@operation("GET", "/_sandbox/meter_event_errors", auth=False)
def list_refused_events(ctx: Context) -> JsonObject:
    """The streamed events that were refused, oldest first, each with its reason (at most the last 1,000)."""
    return {"data": ctx.store.all(REFUSED)[-1_000:]}


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
