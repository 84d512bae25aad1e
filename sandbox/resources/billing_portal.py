"""Billing portal sessions and their configurations. The page itself isn't served."""

from __future__ import annotations

from typing import Any

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, invalid
from sandbox.engine.routing import operation
from sandbox.engine.shapes import list_page
from sandbox.resources.fields import filter_equal, merge_metadata, unset

CONFIGURATION = "billing_portal.configuration"
SESSION = "billing_portal.session"
REASONS = ["too_expensive", "missing_features", "switched_service", "unused", "other"]
FEATURES: JsonObject = {
    "customer_update": {"allowed_updates": [], "enabled": False},
    "invoice_history": {"enabled": False},
    "payment_method_update": {"enabled": False, "payment_method_configuration": None},
    "subscription_cancel": {
        "cancellation_reason": {"enabled": False, "options": REASONS},
        "enabled": False,
        "mode": "at_period_end",
        "proration_behavior": "none",
    },
    "subscription_update": {
        "billing_cycle_anchor": None,
        "default_allowed_updates": [],
        "enabled": False,
        "proration_behavior": "none",
        "schedule_at_period_end": {"conditions": []},
        "trial_update_behavior": "end_trial",
    },
}


@operation("POST", "/v1/billing_portal/configurations", params="billing_portal.ConfigurationCreateParams")
def create_configuration(ctx: Context) -> JsonObject:
    is_first = not ctx.store.count(CONFIGURATION)
    configuration = _new_configuration(ctx, ctx.params, is_default=is_first)
    ctx.emit("billing_portal.configuration.created", configuration)
    return configuration


def _new_configuration(ctx: Context, params: dict[str, Any], *, is_default: bool) -> JsonObject:
    now = ctx.now()
    configuration: JsonObject = {
        "id": ctx.store.new_id("bpc"),
        "object": CONFIGURATION,
        "active": True,
        "application": None,
        "business_profile": {"headline": None, "privacy_policy_url": None, "terms_of_service_url": None},
        "created": now,
        "default_return_url": None,
        "features": FEATURES,
        "is_default": is_default,
        "livemode": False,
        "login_page": {"enabled": False, "url": None},
        "metadata": {},
        "name": None,
        "updated": now,
    }
    _apply(configuration, params)
    ctx.store.put(CONFIGURATION, configuration)
    return configuration


def _apply(configuration: JsonObject, params: dict[str, Any]) -> None:
    for name in ("active", "default_return_url", "name"):
        if name in params:
            configuration[name] = unset(params[name])
    for name in ("business_profile", "login_page"):
        if name in params:
            configuration[name] = {**configuration[name], **params[name]}
    if "metadata" in params:
        configuration["metadata"] = merge_metadata(configuration["metadata"], params["metadata"])
    features = params.get("features", {})
    configuration["features"] = {
        name: {**current, **features.get(name, {})} for name, current in configuration["features"].items()
    }


@operation("GET", "/v1/billing_portal/configurations", params="billing_portal.ConfigurationListParams")
def list_configurations(ctx: Context) -> JsonObject:
    found = filter_equal(ctx.store.all(CONFIGURATION), ctx.params, "active", "is_default")
    return list_page(ctx, found, "/v1/billing_portal/configurations")


@operation(
    "GET",
    "/v1/billing_portal/configurations/{configuration}",
    params="billing_portal.ConfigurationRetrieveParams",
)
def retrieve_configuration(ctx: Context) -> JsonObject:
    return ctx.require(CONFIGURATION, ctx.path["configuration"], "configuration")


@operation(
    "POST",
    "/v1/billing_portal/configurations/{configuration}",
    params="billing_portal.ConfigurationModifyParams",
)
def update_configuration(ctx: Context) -> JsonObject:
    configuration = dict(ctx.require(CONFIGURATION, ctx.path["configuration"], "configuration"))
    if configuration["is_default"] and ctx.params.get("active") is False:
        raise invalid("active", "The default configuration can't be deactivated.")
    _apply(configuration, ctx.params)
    configuration["updated"] = ctx.now()
    ctx.store.put(CONFIGURATION, configuration)
    ctx.emit("billing_portal.configuration.updated", configuration)
    return configuration


@operation("POST", "/v1/billing_portal/sessions", params="billing_portal.SessionCreateParams")
def create_portal_session(ctx: Context) -> JsonObject:
    """Open a portal session; without a `configuration` the default one is used, and made if there is none."""
    params = ctx.params
    if not params.get("customer"):
        raise invalid("customer", "Missing required param: customer.", "parameter_missing")
    customer = ctx.require("customer", params["customer"], "customer")
    if "configuration" in params:
        configuration = ctx.require(CONFIGURATION, params["configuration"], "configuration")
    else:
        known = [found for found in ctx.store.all(CONFIGURATION) if found["is_default"]]
        configuration = known[0] if known else _new_configuration(ctx, {}, is_default=True)
    session_id = ctx.store.new_id("bps")
    session = {
        "id": session_id,
        "object": SESSION,
        "configuration": configuration["id"],
        "created": ctx.now(),
        "customer": customer["id"],
        "flow": _flow(ctx, params.get("flow_data")),
        "livemode": False,
        "locale": params.get("locale"),
        "on_behalf_of": params.get("on_behalf_of"),
        "return_url": params.get("return_url") or configuration["default_return_url"],
        "url": f"https://billing.stripe.com/p/session/test_{session_id}",
    }
    ctx.store.put(SESSION, session)
    ctx.emit("billing_portal.session.created", session)
    return session


def _flow(ctx: Context, data: dict[str, Any] | None) -> JsonObject | None:
    if data is None:
        return None
    for name in ("subscription_cancel", "subscription_update", "subscription_update_confirm"):
        if name in data:
            ctx.require("subscription", data[name]["subscription"], f"flow_data[{name}][subscription]")
    return {"after_completion": {"type": "portal_homepage"}, **data}
