"""Meter events and what Stripe made of them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from billing_worker.gateway.parsing import parse_meter_event_summary
from billing_worker.gateway.transport import call, iterate, make_path
from billing_worker.gateway.types import MeterEventSummary

if TYPE_CHECKING:
    from stripe.params.billing import (
        MeterEventAdjustmentCreateParams,
        MeterEventCreateParams,
        MeterListEventSummariesParams,
    )


def send_meter_event(*, event_name: str, customer: str, value: int, identifier: str, at: datetime) -> None:
    """Report usage once. It is never repeated here: after `GatewayUnavailable` with `outcome_unknown`, look first.

    `at` must lie at most 35 days back and 5 minutes ahead (of the customer's test clock if there is one). `value` is
    a whole number; a negative one corrects. `identifier` has at most 100 characters.

    Raises:
        DuplicateMeterEvent: the identifier was used in the last day or so; the earlier event counts.
        GatewayRejected: unknown meter, time out of range, malformed value.
        GatewayRateLimited: not accepted, send it again later.
        GatewayUnavailable: see `outcome_unknown`.
    """
    params: MeterEventCreateParams = {
        "event_name": event_name,
        "payload": {"stripe_customer_id": customer, "value": str(value)},
        "identifier": identifier,
        "timestamp": int(at.timestamp()),
    }
    call("post", make_path("billing", "meter_events"), params)


def cancel_meter_event(*, event_name: str, identifier: str) -> None:
    """Take a meter event back; Stripe allows it for 24 hours after it arrived."""
    params: MeterEventAdjustmentCreateParams = {
        "event_name": event_name,
        "type": "cancel",
        "cancel": {"identifier": identifier},
    }
    call("post", make_path("billing", "meter_event_adjustments"), params)


def list_meter_event_summaries(
    *, meter: str, customer: str, start_at: datetime, end_at: datetime
) -> list[MeterEventSummary]:
    """What the meter holds for the customer in `[start_at, end_at)`, which must lie on whole minutes.

    Stripe aggregates asynchronously: the newest events may be missing.
    """
    params: MeterListEventSummariesParams = {
        "customer": customer,
        "start_time": int(start_at.timestamp()),
        "end_time": int(end_at.timestamp()),
    }
    path = make_path("billing", "meters", meter, "event_summaries")
    return [parse_meter_event_summary(payload) for payload in iterate(path, params)]
