"""The control plane below ``/_sandbox``: what tests and demos do that Stripe has no API for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sandbox.engine.errors import JsonObject, ParamError, StripeError
from sandbox.engine.params import API_VERSION

if TYPE_CHECKING:
    from sandbox.engine.core import Engine

MAX_LISTED = 1_000


async def handle(
    engine: Engine, method: str, path: str, query: dict[str, Any], body: bytes
) -> tuple[int, JsonObject]:
    """Answer one control request."""
    parts = path.strip("/").split("/")[1:]
    try:
        return 200, await _route(engine, method, parts, query, body)
    except StripeError as error:
        return error.status, {"error": {"message": error.message, "param": error.param}}


async def _route(
    engine: Engine, method: str, parts: list[str], query: dict[str, Any], body: bytes
) -> JsonObject:
    match method, parts:
        case "GET", ["health"]:
            return {"status": "ok", "api_version": API_VERSION}
        case "POST", ["reset"]:
            engine.reset()
            return {"status": "ok"}
        case _, ["faults", *rest]:
            return _faults(engine, method, rest, body)
        case "GET", ["deliveries"]:
            return {"data": _deliveries(engine, query)}
        case "POST", ["deliveries", id, "retry"]:
            if not engine.deliveries.retry_now(id):
                raise StripeError(404, f"No such delivery: '{id}'")
            return {"status": "ok"}
        case _, ["mailgun", "messages"]:
            return _mail(engine, method)
        case "GET", ["mailgun", "tracking"]:
            return engine.mail_tracking.get()
        case "POST", ["mailgun", "tracking"]:
            given = decode_object(body)
            return engine.mail_tracking.configure(given.get("url"), given.get("signing_key", ""))
    raise _unknown(method, parts)


def _faults(engine: Engine, method: str, rest: list[str], body: bytes) -> JsonObject:
    match method, rest:
        case "GET", []:
            return {"data": engine.faults.list()}
        case "POST", []:
            return engine.faults.add(decode_object(body))
        case "DELETE", []:
            engine.faults.clear()
            return {"status": "ok"}
        case "DELETE", [id]:
            if not engine.faults.remove(id):
                raise StripeError(404, f"No such fault: '{id}'")
            return {"status": "ok"}
    raise _unknown(method, ["faults", *rest])


def _mail(engine: Engine, method: str) -> JsonObject:
    messages = engine.store.all("_mail")
    if method == "DELETE":
        for message in messages:
            engine.store.delete("_mail", message["id"])
        return {"status": "ok"}
    return {"data": messages}


def _unknown(method: str, parts: list[str]) -> StripeError:
    return StripeError(404, f"The sandbox's control plane has no {method} /_sandbox/{'/'.join(parts)}")


def _deliveries(engine: Engine, query: dict[str, Any]) -> list[JsonObject]:
    """Newest first; ``state``, ``event``, ``event_type`` and ``endpoint`` filter."""
    rows = engine.store.all("_delivery")[::-1]
    for field in ("state", "event", "event_type", "endpoint"):
        if field in query:
            rows = [row for row in rows if row[field] == query[field]]
    return rows[:MAX_LISTED]


def decode_object(body: bytes) -> JsonObject:
    """Decode the JSON object of a control request.

    Raises:
        ParamError: it is something else.
    """
    try:
        decoded = json.loads(body) if body else {}
    except ValueError as error:
        raise ParamError(f"Invalid JSON: {error}", param="") from error
    if not isinstance(decoded, dict):
        raise ParamError("Invalid object", param="")
    return decoded
