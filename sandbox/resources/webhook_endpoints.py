"""Webhook endpoints. Deliveries themselves are the engine's."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, invalid
from sandbox.engine.params import API_VERSION
from sandbox.engine.routing import operation
from sandbox.engine.shapes import list_page
from sandbox.resources.fields import merge_metadata, unset

MAX_ENDPOINTS = 16


@operation("POST", "/v1/webhook_endpoints", params="WebhookEndpointCreateParams")
def create_endpoint(ctx: Context) -> JsonObject:
    """Create an endpoint. The answer is the only one that shows the secret."""
    if ctx.store.count("webhook_endpoint") >= MAX_ENDPOINTS:
        raise invalid("url", f"You have reached the maximum of {MAX_ENDPOINTS} test webhook endpoints.")
    params = ctx.params
    if params.get("connect"):
        raise invalid("connect", "The sandbox does not cover the parameter connect here; see its README.")
    endpoint: JsonObject = {
        "id": ctx.store.new_id("we"),
        "object": "webhook_endpoint",
        "api_version": params.get("api_version"),
        "application": None,
        "created": ctx.now(),
        "description": unset(params.get("description")),
        "enabled_events": params["enabled_events"],
        "livemode": False,
        "metadata": merge_metadata({}, params.get("metadata", {})),
        "status": "enabled",
        "url": _checked_url(params["url"]),
        "_secret": "whsec_" + secrets.token_urlsafe(24),
    }
    version = endpoint["api_version"]
    if version is not None and version != API_VERSION:
        raise invalid(
            "api_version", f"The sandbox speaks {API_VERSION} only; leave api_version out or name that."
        )
    ctx.store.put("webhook_endpoint", endpoint)
    return {**endpoint, "secret": endpoint["_secret"]}


@operation("GET", "/v1/webhook_endpoints/{webhook_endpoint}", params="WebhookEndpointRetrieveParams")
def retrieve_endpoint(ctx: Context) -> JsonObject:
    """Return an endpoint, without its secret."""
    return ctx.require("webhook_endpoint", ctx.path["webhook_endpoint"])


@operation("POST", "/v1/webhook_endpoints/{webhook_endpoint}", params="WebhookEndpointModifyParams")
def update_endpoint(ctx: Context) -> JsonObject:
    """Update an endpoint; ``disabled`` turns its deliveries off."""
    endpoint = dict(ctx.require("webhook_endpoint", ctx.path["webhook_endpoint"]))
    params = ctx.params
    if "url" in params:
        endpoint["url"] = _checked_url(params["url"])
    if "enabled_events" in params:
        endpoint["enabled_events"] = params["enabled_events"]
    if "description" in params:
        endpoint["description"] = unset(params["description"])
    if "disabled" in params:
        endpoint["status"] = "disabled" if params["disabled"] else "enabled"
    if "metadata" in params:
        endpoint["metadata"] = merge_metadata(endpoint["metadata"], params["metadata"])
    ctx.store.put("webhook_endpoint", endpoint)
    return endpoint


@operation("DELETE", "/v1/webhook_endpoints/{webhook_endpoint}", params="WebhookEndpointDeleteParams")
def delete_endpoint(ctx: Context) -> JsonObject:
    """Delete an endpoint; what is still queued for it is abandoned."""
    endpoint = ctx.require("webhook_endpoint", ctx.path["webhook_endpoint"])
    ctx.store.delete("webhook_endpoint", endpoint["id"])
    return {"id": endpoint["id"], "object": "webhook_endpoint", "deleted": True}


@operation("GET", "/v1/webhook_endpoints", params="WebhookEndpointListParams")
def list_endpoints(ctx: Context) -> JsonObject:
    """List endpoints."""
    return list_page(ctx, ctx.store.all("webhook_endpoint"), "/v1/webhook_endpoints")


@operation("POST", "/_sandbox/webhook_endpoints/{webhook_endpoint}/roll_secret")
def roll_secret(ctx: Context) -> JsonObject:
    """Give an endpoint a new secret (the dashboard's "roll"); the former one keeps signing beside it.

    Stripe lets both live for up to 24 hours; here until the next roll with the same endpoint.
    """
    endpoint = dict(ctx.require("webhook_endpoint", ctx.path["webhook_endpoint"]))
    endpoint["_old_secrets"] = [endpoint["_secret"]]
    endpoint["_secret"] = "whsec_" + secrets.token_urlsafe(24)
    ctx.store.put("webhook_endpoint", endpoint)
    return {**endpoint, "secret": endpoint["_secret"]}


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise invalid(
            "url", "Invalid URL: An explicit scheme (such as https) must be provided.", "url_invalid"
        )
    return url
