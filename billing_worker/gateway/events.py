"""Stripe's own record of events, and the endpoints it sends them to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from billing_worker.gateway.parsing import parse_webhook_endpoint
from billing_worker.gateway.transport import call, iterate, make_path, make_v2_path
from billing_worker.gateway.types import WebhookEndpoint
from billing_worker.gateway.version import STRIPE_API_VERSION

if TYPE_CHECKING:
    from stripe.params import EventListParams, WebhookEndpointCreateParams


def list_events(*, created_from: datetime, types: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Events created at or after an instant, newest first, as Stripe sends them. Stripe keeps 30 days.

    `types` has at most 20 names; None means all.
    """
    params: EventListParams = {"created": {"gte": int(created_from.timestamp())}}
    if types is not None:
        params["types"] = list(types)
    yield from iterate(make_path("events"), params)


def get_event(event: str) -> dict[str, Any]:
    """Raises: GatewayNotFound: unknown, or older than 30 days."""
    return call("get", make_path("events", event))


def get_thin_event(event: str) -> dict[str, Any]:
    """A thin event with its `data`, which its delivery does not carry.

    Raises:
        GatewayNotFound: unknown, or older than 30 days.
    """
    return call("get", make_v2_path("core", "events", event))


def create_webhook_endpoint(*, url: str, events: Sequence[str]) -> WebhookEndpoint:
    """Register an address for these event types, in the pinned API version. The secret is in this answer only."""
    params: WebhookEndpointCreateParams = {
        "url": url,
        # Plain names here: the SDK lists the types it knew when it was made, Stripe adds more.
        "enabled_events": list(events),  # type: ignore[arg-type]
        "api_version": STRIPE_API_VERSION,
        "description": "billing-worker",
    }
    return parse_webhook_endpoint(call("post", make_path("webhook_endpoints"), params))


def list_webhook_endpoints() -> list[WebhookEndpoint]:
    return [parse_webhook_endpoint(payload) for payload in iterate(make_path("webhook_endpoints"))]
