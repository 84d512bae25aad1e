"""Events as the API lists them."""

from __future__ import annotations

from fnmatch import fnmatchcase

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.events import THIN, load_event
from sandbox.engine.routing import on_load, operation
from sandbox.engine.shapes import list_page
from sandbox.engine.store import Store
from sandbox.resources.fields import filter_created

MAX_TYPES = 20


@on_load
def _declare(store: Store) -> None:
    store.index("event", "type")


@operation("GET", "/v1/events/{id}", params="EventRetrieveParams")
def retrieve_event(ctx: Context) -> JsonObject:
    """Return one event with its snapshot."""
    return load_event(ctx.store, ctx.require("event", ctx.path["id"]))


@operation("GET", "/v2/core/events/{id}", params="v2.core.EventRetrieveParams")
def retrieve_thin_event(ctx: Context) -> JsonObject:
    """Return a thin event with its data"""
    return load_event(ctx.store, ctx.require(THIN, ctx.path["id"]))


@operation("GET", "/v1/events", params="EventListParams")
def list_events(ctx: Context) -> JsonObject:
    """List events; ``type`` (``*`` allowed), ``types``, ``created`` and ``delivery_success`` filter."""
    params = ctx.params
    if "type" in params and "types" in params:
        raise StripeError(
            400, "You may only specify one of these parameters: type, types.", code="parameters_exclusive"
        )
    if len(params.get("types", [])) > MAX_TYPES:
        raise invalid("types", f"You may only specify up to {MAX_TYPES} types.")
    page = list_page(ctx, filter_created(_chosen(ctx), params.get("created")), "/v1/events")
    return {**page, "data": [load_event(ctx.store, record) for record in page["data"]]}


def _chosen(ctx: Context) -> list[JsonObject]:
    wanted = ctx.params.get("type")
    if wanted is not None and "*" not in wanted:
        records = ctx.store.find("event", "type", wanted)
    else:
        records = ctx.store.all("event")
        if wanted is not None:
            records = [record for record in records if fnmatchcase(record["type"], wanted)]
    if "types" in ctx.params:
        types = set(ctx.params["types"])
        records = [record for record in records if record["type"] in types]
    success = ctx.params.get("delivery_success")
    if success is not None:
        records = [record for record in records if (record["pending_webhooks"] == 0) == success]
    return records


@operation("POST", "/_sandbox/events/{id}/resend")
def resend_event(ctx: Context) -> JsonObject:
    """Queue an event again for every endpoint that listens to it, as the dashboard's "Resend" does."""
    record = dict(ctx.require("event", ctx.path["id"]))
    record["pending_webhooks"] += ctx.engine.deliveries.queue(record)
    ctx.store.put("event", record)
    return load_event(ctx.store, record)
