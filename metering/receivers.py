"""What Stripe says about meter events after it took them. Rows only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing_worker.webhooks.registry import StripeEvent, receives
from metering.services.decisions import reject_reported


@receives("v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found")
def on_meter_errors(event: StripeEvent) -> None:
    """Events that Stripe refused after accepting them go back to `rejected`, as far as the report names them.

    https://docs.stripe.com/billing/subscriptions/usage-based/recording-usage-api#handle-meter-event-errors
    A report holds samples only, so the alert matters even where none of ours is named.
    """
    data = _as_mapping(event.object.get("data"))
    reason = _as_mapping(data.get("reason"))
    related = _as_mapping(event.object.get("related_object"))
    summary = str(data.get("developer_message_summary") or event.type)
    reject_reported(
        identifiers=list_identifiers(reason),
        summary=summary[:300],
        subject=str(related.get("id") or "a meter that does not exist"),
        told_at=event.created_at,
        now=event.now,
    )


def list_identifiers(reason: Mapping[str, Any]) -> list[str]:
    """The identifiers in a report's samples, in order, each once."""
    found = [
        str(_as_mapping(_as_mapping(sample).get("request")).get("identifier") or "")
        for kind in _as_list(reason.get("error_types"))
        for sample in _as_list(_as_mapping(kind).get("sample_errors"))
    ]
    return [identifier for identifier in dict.fromkeys(found) if identifier]


def _as_mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
