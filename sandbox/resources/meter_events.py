"""Meter events and their adjustments.

Events count at once; Stripe takes a moment. Stripe reports some refusals later; here every refusal is a 400.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from sandbox.billing.usage import EVENT_KIND, usage_index
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid, missing
from sandbox.engine.routing import operation
from sandbox.resources.meters import active_meter

OLDEST_SECONDS = 35 * 86_400
AHEAD_SECONDS = 5 * 60
# Stripe promises uniqueness for "at least 24 hours" only; the sandbox forgets as early as Stripe may.
IDENTIFIER_WINDOW_SECONDS = 24 * 3_600
CANCEL_WINDOW_SECONDS = 24 * 3_600
MAX_IDENTIFIER = 100
MAX_DIGITS = 15
WHOLE_NUMBER = re.compile(r"[+-]?\d+")


@operation("POST", "/v1/billing/meter_events", params="billing.MeterEventCreateParams")
def create_meter_event(ctx: Context) -> JsonObject:
    row = record_event(ctx, ctx.params)
    return {
        "object": "billing.meter_event",
        "created": row["created"],
        "event_name": row["event_name"],
        "identifier": row["identifier"],
        "livemode": False,
        "payload": ctx.params["payload"],
        "timestamp": row["timestamp"],
    }


def record_event(ctx: Context, params: JsonObject) -> JsonObject:
    """Check one event and count it. Returns the stored row.

    Raises:
        StripeError: 400; the meter or customer is unknown, the value is not a whole number, the timestamp lies outside
            the window (at most 35 days old and 5 minutes ahead by the customer's clock), or the identifier was used
            within 24 hours.
    """
    meter = active_meter(ctx.store, params["event_name"])
    if meter is None:
        raise invalid(
            "event_name", _no_meter(ctx, params["event_name"]), _no_meter_code(ctx, params["event_name"])
        )
    customer = _customer(ctx, meter, params["payload"])
    value = _value(meter, params["payload"])
    timestamp = _timestamp(ctx, customer["id"], params.get("timestamp"))
    now = ctx.now()
    index = usage_index(ctx.store)
    identifier = params.get("identifier") or secrets.token_hex(16)
    if len(identifier) > MAX_IDENTIFIER:
        raise invalid(
            "identifier", f"Invalid string: {identifier[:20]}...; must be at most {MAX_IDENTIFIER} characters"
        )
    taken = index.event(identifier)
    if taken is not None and now - taken["created"] < IDENTIFIER_WINDOW_SECONDS:
        message = f"An event already exists with identifier {identifier}."
        raise invalid("identifier", message, "duplicate_meter_event")
    row = {
        "id": ctx.store.new_id("mtrevt"),
        "meter": meter["id"],
        "event_name": meter["event_name"],
        "customer": customer["id"],
        "value": value,
        "timestamp": timestamp,
        "identifier": identifier,
        "created": now,
    }
    ctx.store.put(EVENT_KIND, row)
    index.add(row)
    return row


def _no_meter(ctx: Context, event_name: str) -> str:
    if ctx.store.find("billing.meter", "event_name", event_name):
        return f"The meter with event name `{event_name}` is archived."
    return f"No active meter found for event name `{event_name}`."


def _no_meter_code(ctx: Context, event_name: str) -> str:
    return "archived_meter" if ctx.store.find("billing.meter", "event_name", event_name) else "no_meter"


def _customer(ctx: Context, meter: JsonObject, payload: dict[str, str]) -> JsonObject:
    key = meter["customer_mapping"]["event_payload_key"]
    param = f"payload[{key}]"
    if not payload.get(key):
        message = f"The payload must name the customer in the key `{key}`."
        raise invalid(param, message, "meter_event_no_customer_defined")
    customer = ctx.store.get("customer", payload[key])
    if customer is None:
        raise invalid(param, f"No such customer: '{payload[key]}'", "meter_event_customer_not_found")
    return customer


def _value(meter: JsonObject, payload: dict[str, str]) -> int:
    key = meter["value_settings"]["event_payload_key"]
    text = payload.get(key, "")
    if meter["default_aggregation"]["formula"] == "count" and not text:
        return 1
    if not text:
        message = f"The payload must hold a value in the key `{key}`."
        raise invalid(f"payload[{key}]", message, "meter_event_value_not_found")
    if not WHOLE_NUMBER.fullmatch(text):
        raise invalid(
            f"payload[{key}]", f"Invalid value: '{text}'; must be a whole number", "meter_event_invalid_value"
        )
    if len(text.lstrip("+-").lstrip("0")) > MAX_DIGITS:
        message = f"Invalid value: '{text}'; must have at most {MAX_DIGITS} digits"
        raise invalid(f"payload[{key}]", message, "meter_event_value_too_many_digits")
    return int(text)


def _timestamp(ctx: Context, customer_id: str, timestamp: int | None) -> int:
    now = ctx.now_for(customer_id)
    if timestamp is None:
        return now
    if timestamp < now - OLDEST_SECONDS:
        message = "The timestamp must be within the past 35 calendar days."
        raise invalid("timestamp", message, "timestamp_too_far_in_past")
    if timestamp > now + AHEAD_SECONDS:
        raise invalid(
            "timestamp", "The timestamp must be at most 5 minutes in the future.", "timestamp_in_future"
        )
    return timestamp


@operation("POST", "/v1/billing/meter_event_adjustments", params="billing.MeterEventAdjustmentCreateParams")
def create_meter_event_adjustment(ctx: Context) -> JsonObject:
    """Cancel one event by its identifier, within 24 hours of its receipt; finalized invoices don't change."""
    identifier = ctx.params.get("cancel", {}).get("identifier")
    if not identifier:
        raise StripeError(
            400,
            "Missing required param: cancel[identifier].",
            code="parameter_missing",
            param="cancel[identifier]",
        )
    index = usage_index(ctx.store)
    row = index.event(identifier)
    if row is None or row["event_name"] != ctx.params["event_name"]:
        raise missing("billing.meter_event", identifier, "cancel[identifier]")
    if row.get("cancelled"):
        raise invalid("cancel[identifier]", f"The event with identifier {identifier} is already cancelled.")
    if ctx.now() - row["created"] >= CANCEL_WINDOW_SECONDS:
        raise invalid("cancel[identifier]", "Only events received within the last 24 hours can be cancelled.")
    row["cancelled"] = True
    ctx.store.put(EVENT_KIND, row)
    index.cancel(row)
    adjustment: dict[str, Any] = {
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "event_name": row["event_name"],
        "livemode": False,
        "status": "pending",
        "type": "cancel",
    }
    return adjustment
