"""A month of usage as JSON."""

from __future__ import annotations

from collections import defaultdict
from decimal import ROUND_DOWN, Decimal
from typing import Any

from billing_worker.accounts.models import Account
from billing_worker.accounts.selectors import get_billing_account
from billing_worker.catalog.selectors import get_sampled_products
from billing_worker.core.rating import USAGE_TYPES
from billing_worker.mirror.models import StripeInvoiceLine
from billing_worker.mirror.states import LineKind
from metering.buckets import format_bucket
from metering.draft_window.completions import get_completion
from metering.models import MeterEvent
from metering.samples.selectors import SampledMonth
from metering.selectors import BucketUsage, PeriodUsage
from metering.states import EventState
from metering.true_ups.selectors import list_true_ups_of


def present_period(usage: PeriodUsage, account: Account) -> dict[str, Any]:
    """Every statement, what became of it at Stripe, and the lines of the payer's invoices for the month."""
    sent: defaultdict[str, int] = defaultdict(int)
    for event in usage.events:
        if event.state == EventState.SENT:
            sent[event.meter] += event.value
    return {
        "account_id": usage.account_id,
        "period": str(usage.period),
        "fed": usage.granularity,
        "complete": _present_completion(usage),
        "totals": usage.totals,
        "sent": {kind: sent[kind] for kind in USAGE_TYPES},
        "sampled": [_present_sampled(month, sent[month.event_name]) for month in usage.sampled],
        "usage": [_present_bucket(bucket, usage.granularity or "") for bucket in usage.buckets],
        "meter_events": [_present_event(event) for event in usage.events],
        "invoiced": _present_lines(usage, account),
        "true_ups": _present_true_ups(usage),
    }


def _present_completion(usage: PeriodUsage) -> dict[str, Any] | None:
    completion = get_completion(usage.account_id, usage.period)
    if completion is None:
        return None
    return {
        "scope": completion.scope,
        "declared_by": completion.declared_by,
        "declared_at": completion.declared_at,
    }


def _present_sampled(month: SampledMonth, sent: int) -> dict[str, Any]:
    """Quantities are decimals in a string, in billed units: six places, cut off; what is kept is exact."""
    return {
        "meter": month.event_name,
        "title": month.title,
        "quantity": _cut(month.quantity),
        "in_meter_events": month.billed,
        "sent": sent,
        "is_complete": month.is_complete,
        "days": {day.isoformat(): _cut(quantity) for day, quantity in month.days.items()},
    }


def _cut(quantity: Decimal) -> str:
    return f"{quantity.quantize(Decimal('0.000001'), ROUND_DOWN):f}"


def _present_bucket(bucket: BucketUsage, granularity: str) -> dict[str, Any]:
    return {
        "bucket": format_bucket(bucket.bucket_date, granularity),
        "usage_type": bucket.usage_type,
        "quantity": bucket.quantity,
        "revisions": [
            {
                "revision": record.revision,
                "quantity": record.quantity,
                "delta": record.delta,
                "reason": record.reason,
                "author": record.author,
                "received_at": record.received_at,
                "rolled_up_at": record.rolled_up_at,
            }
            for record in bucket.revisions
        ],
    }


def _present_event(event: MeterEvent) -> dict[str, Any]:
    return {
        "identifier": event.identifier,
        "usage_type": event.meter,
        "value": event.value,
        "at": event.at,
        "state": event.state,
        "reason": event.reason,
        "customer": event.lane.customer if event.lane else None,
        "sent_at": event.sent_at,
    }


def _present_true_ups(usage: PeriodUsage) -> list[dict[str, Any]]:
    """What came after the invoice was finalized, and what became of it."""
    return [
        {
            "id": true_up.pk,
            "usage_type": true_up.meter,
            "units": true_up.units,
            "amount_minor": true_up.amount_minor,
            "currency": true_up.currency,
            "state": true_up.state,
            "proposed_at": true_up.proposed_at,
            "decided_by": true_up.decided_by,
            "reason": true_up.decision_reason,
            "stripe_object": true_up.stripe_object_id,
            "invoice": true_up.stripe_invoice_id or None,
        }
        for true_up in list_true_ups_of(usage.account_id, usage.period)
    ]


def _present_lines(usage: PeriodUsage, account: Account) -> list[dict[str, Any]]:
    """Usage lines whose own period lies in the month. A parent's lines cover its children without a customer too."""
    lines = StripeInvoiceLine.objects.filter(
        invoice__account=get_billing_account(account),
        kind__in=[*USAGE_TYPES, LineKind.SAMPLED],
        period_start__gte=usage.period.start_at,
        period_end__lte=usage.period.end_at,
    ).select_related("invoice")
    names = get_sampled_products() if usage.sampled else {}
    return [
        {
            "invoice": line.invoice.stripe_invoice_id,
            "status": line.invoice.status,
            "usage_type": names.get(line.product, line.kind) if line.kind == LineKind.SAMPLED else line.kind,
            "quantity": line.quantity,
            "amount_minor": line.amount_minor,
            "currency": line.currency,
        }
        for line in lines.order_by("invoice__created_at", "position")
    ]
