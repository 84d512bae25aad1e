"""Subscriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from billing_worker.gateway.parsing import parse_subscription
from billing_worker.gateway.transport import call, iterate, make_path
from billing_worker.gateway.types import Subscription, SubscriptionItemChange, SubscriptionItemSpec

if TYPE_CHECKING:
    from stripe.params import (
        SubscriptionCancelParams,
        SubscriptionCreateParams,
        SubscriptionListParams,
        SubscriptionUpdateParams,
    )

CollectionMethod = Literal["charge_automatically", "send_invoice"]
ProrationBehavior = Literal["always_invoice", "create_prorations", "none"]


def create_subscription(
    *,
    customer: str,
    items: Sequence[SubscriptionItemSpec],
    billing_cycle_anchor: datetime | None = None,
    backdate_start_at: datetime | None = None,
    collection_method: CollectionMethod = "charge_automatically",
    days_until_due: int | None = None,
    proration_behavior: ProrationBehavior | None = None,
    metadata: Mapping[str, str],
    description: str = "",
    idempotency_key: str,
) -> Subscription:
    """Subscribe a customer, starting now (the customer's test clock counts), or in the past if backdated.

    `billing_cycle_anchor` is the start of the first full cycle and must not lie before now; what lies between start
    and anchor is prorated unless `proration_behavior` is `none`. `days_until_due` goes with `send_invoice`.
    """
    params: SubscriptionCreateParams = {
        "customer": customer,
        "items": [_describe_item(item) for item in items],
        "collection_method": collection_method,
        "metadata": dict(metadata),
    }
    if billing_cycle_anchor is not None:
        params["billing_cycle_anchor"] = int(billing_cycle_anchor.timestamp())
    if backdate_start_at is not None:
        params["backdate_start_date"] = int(backdate_start_at.timestamp())
    if days_until_due is not None:
        params["days_until_due"] = days_until_due
    if proration_behavior is not None:
        params["proration_behavior"] = proration_behavior
    if description:
        params["description"] = description
    return parse_subscription(
        call("post", make_path("subscriptions"), params, idempotency_key=idempotency_key)
    )


def get_subscription(subscription: str) -> Subscription:
    """Raises: GatewayNotFound: no such subscription. A cancelled one is still found."""
    return parse_subscription(call("get", make_path("subscriptions", subscription)))


def list_subscriptions(customer: str) -> list[Subscription]:
    """Every subscription of a customer, cancelled ones included, newest first."""
    params: SubscriptionListParams = {"customer": customer, "status": "all"}
    return [parse_subscription(payload) for payload in iterate(make_path("subscriptions"), params)]


def cancel_subscription(subscription: str, *, prorate: bool, invoice_now: bool) -> Subscription:
    """Cancel at once. `invoice_now` bills usage so far on a final invoice; `prorate` credits the unused flat fee."""
    params: SubscriptionCancelParams = {"prorate": prorate, "invoice_now": invoice_now}
    return parse_subscription(call("delete", make_path("subscriptions", subscription), params))


def change_subscription(
    subscription: str,
    *,
    items: Sequence[SubscriptionItemChange] = (),
    cancel_at_period_end: bool | None = None,
    cancel_at: datetime | Literal[""] | None = None,
    idempotency_key: str,
) -> Subscription:
    """Change items without any proration: what was billed stays, the next invoice bills what holds then.

    `cancel_at_period_end` ends it at the turn of its period, with a last invoice for the usage of the period, or takes
    that back. `cancel_at` ends it at an instant still to come, with the same last invoice; an empty text takes any
    planned end back. Where the instant is a turn of its period nothing is prorated.

    Raises:
        GatewayRejected: an item that is gone, the last item removed, a subscription that has ended.
    """
    params: SubscriptionUpdateParams = {"proration_behavior": "none"}
    if items:
        params["items"] = [_describe_change(item) for item in items]
    if cancel_at_period_end is not None:
        params["cancel_at_period_end"] = cancel_at_period_end
    if cancel_at is not None:
        params["cancel_at"] = int(cancel_at.timestamp()) if isinstance(cancel_at, datetime) else ""
    return parse_subscription(
        call("post", make_path("subscriptions", subscription), params, idempotency_key=idempotency_key)
    )


def update_subscription_metadata(subscription: str, metadata: Mapping[str, str]) -> Subscription:
    """Set the given metadata keys and leave the others."""
    params: SubscriptionUpdateParams = {"metadata": dict(metadata)}
    return parse_subscription(call("post", make_path("subscriptions", subscription), params))


def _describe_change(change: SubscriptionItemChange) -> Any:
    if change.is_removal:
        return {"id": change.id, "deleted": True}
    described: dict[str, Any] = {"id": change.id} if change.id else {}
    if change.price:
        described["price"] = change.price
    if change.quantity is not None:
        described["quantity"] = change.quantity
    if change.metadata:
        described["metadata"] = dict(change.metadata)
    return described


def _describe_item(item: SubscriptionItemSpec) -> Any:
    described: dict[str, Any] = {"price": item.price}
    if item.quantity is not None:
        described["quantity"] = item.quantity
    if item.metadata:
        described["metadata"] = dict(item.metadata)
    return described
