"""Meters and the summaries of what customers used on them."""

from __future__ import annotations

from typing import Any

from sandbox.billing.usage import HOUR, usage_index
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.routing import on_load, operation
from sandbox.engine.shapes import list_page
from sandbox.engine.store import Store

KIND = "billing.meter"
GROUPING_SECONDS = {"hour": HOUR, "day": 24 * HOUR}


@on_load
def _declare(store: Store) -> None:
    store.index(KIND, "event_name")


def active_meter(store: Store, event_name: str) -> JsonObject | None:
    """The active meter that an event name belongs to."""
    return next((m for m in store.find(KIND, "event_name", event_name) if m["status"] == "active"), None)


@operation("POST", "/v1/billing/meters", params="billing.MeterCreateParams")
def create_meter(ctx: Context) -> JsonObject:
    params, event_name = ctx.params, ctx.params["event_name"]
    if active_meter(ctx.store, event_name):
        message = f"An active meter with the event name `{event_name}` already exists."
        raise invalid("event_name", message, "resource_already_exists")
    if len(event_name) > 100:
        raise invalid("event_name", "Invalid string: must be at most 100 characters")
    now = ctx.now()
    meter = {
        "id": ctx.store.new_id("mtr_test"),
        "object": KIND,
        "created": now,
        "customer_mapping": params.get(
            "customer_mapping", {"event_payload_key": "stripe_customer_id", "type": "by_id"}
        ),
        "default_aggregation": params["default_aggregation"],
        "display_name": params["display_name"],
        "event_name": event_name,
        "event_time_window": params.get("event_time_window"),
        "livemode": False,
        "status": "active",
        "status_transitions": {"deactivated_at": None},
        "updated": now,
        "value_settings": params.get("value_settings", {"event_payload_key": "value"}),
    }
    ctx.store.put(KIND, meter)
    ctx.emit("billing.meter.created", meter)
    return meter


@operation("GET", "/v1/billing/meters", params="billing.MeterListParams")
def list_meters(ctx: Context) -> JsonObject:
    status = ctx.params.get("status")
    meters = [meter for meter in ctx.store.all(KIND) if status in (None, meter["status"])]
    return list_page(ctx, meters, "/v1/billing/meters")


@operation("GET", "/v1/billing/meters/{id}", params="billing.MeterRetrieveParams")
def retrieve_meter(ctx: Context) -> JsonObject:
    return ctx.require(KIND, ctx.path["id"])


@operation("POST", "/v1/billing/meters/{id}", params="billing.MeterModifyParams")
def update_meter(ctx: Context) -> JsonObject:
    meter = ctx.require(KIND, ctx.path["id"])
    changes = {key: value for key, value in ctx.params.items() if meter.get(key) != value}
    return _change(ctx, meter, "billing.meter.updated", changes)


@operation("POST", "/v1/billing/meters/{id}/deactivate", params="billing.MeterDeactivateParams")
def deactivate_meter(ctx: Context) -> JsonObject:
    meter = ctx.require(KIND, ctx.path["id"])
    if meter["status"] == "inactive":
        raise StripeError(400, "This meter is already deactivated.")
    changes = {"status": "inactive", "status_transitions": {"deactivated_at": ctx.now()}}
    return _change(ctx, meter, "billing.meter.deactivated", changes)


@operation("POST", "/v1/billing/meters/{id}/reactivate", params="billing.MeterReactivateParams")
def reactivate_meter(ctx: Context) -> JsonObject:
    meter = ctx.require(KIND, ctx.path["id"])
    if meter["status"] == "active":
        raise StripeError(400, "This meter is already active.")
    if active_meter(ctx.store, meter["event_name"]):
        raise StripeError(400, f"An active meter with the event name `{meter['event_name']}` already exists.")
    changes = {"status": "active", "status_transitions": {"deactivated_at": None}}
    return _change(ctx, meter, "billing.meter.reactivated", changes)


def _change(ctx: Context, meter: JsonObject, event_type: str, changes: dict[str, Any]) -> JsonObject:
    if not changes:
        return meter
    previous = {key: meter[key] for key in (*changes, "updated")}
    meter = {**meter, **changes, "updated": ctx.now()}
    ctx.store.put(KIND, meter)
    ctx.emit(event_type, meter, previous)
    return meter


@operation("GET", "/v1/billing/meters/{id}/event_summaries", params="billing.MeterListEventSummariesParams")
def list_event_summaries(ctx: Context) -> JsonObject:
    """Usage of one customer in `[start_time, end_time)`: one summary, or one per hour or day that holds events."""
    meter = ctx.require(KIND, ctx.path["id"])
    customer = ctx.require("customer", ctx.params["customer"], "customer")
    start, end = ctx.params["start_time"], ctx.params["end_time"]
    window = ctx.params.get("value_grouping_window")
    _check_bounds(start, end, window)
    index, formula = usage_index(ctx.store), meter["default_aggregation"]["formula"]
    if window:
        groups = index.grouped(meter["id"], customer["id"], start, end, GROUPING_SECONDS[window])
        values = [(at, at + GROUPING_SECONDS[window], totals.value(formula)) for at, totals in groups]
    else:
        totals = index.totals(meter["id"], customer["id"], start, end)
        values = [(start, end, totals.value(formula))] if totals.count else []
    summaries = [_summary(meter["id"], customer["id"], *value) for value in values]
    return list_page(ctx, summaries, f"/v1/billing/meters/{meter['id']}/event_summaries")


def _check_bounds(start: int, end: int, window: str | None) -> None:
    if end <= start:
        raise invalid("end_time", "`end_time` must be after `start_time`.")
    width = GROUPING_SECONDS[window] if window else 60
    noun = {60: "minute", HOUR: "hour", 24 * HOUR: "day"}[width]
    for param, value in (("start_time", start), ("end_time", end)):
        if value % width:
            raise invalid(param, f"`{param}` must be aligned with {noun} boundaries.")


def _summary(meter_id: str, customer_id: str, start: int, end: int, value: int) -> JsonObject:
    return {
        "id": f"mtrusg_test_{meter_id[-8:]}{customer_id[-8:]}{start}{end}",
        "object": "billing.meter_event_summary",
        "aggregated_value": value,
        "end_time": end,
        "livemode": False,
        "meter": meter_id,
        "start_time": start,
    }
