"""When a stretch of a payer's meter is billed: the rule, in one place.

It is billed when an invoice of a subscription was finalized that has a line for it in arrears: a line of the
subscription's own (no invoice item) for one of our meters, whose period has a length and ended before the invoice was
made. Compared are Stripe's times with Stripe's, so test clocks and ours never mix. Not billed are: drafts (Stripe still
counts usage into them, so they wait in the draft window), the zero lines of a first invoice, invoices at a threshold in
the middle of a period, and months for which an account had no such line. Voiding an invoice later changes nothing: its
meter is not read again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from billing_worker.catalog.models import CatalogProduct
from billing_worker.core.rating import USAGE_TYPES
from billing_worker.mirror.models import StripeInvoice, StripeInvoiceLine
from billing_worker.mirror.states import LineKind
from metering.true_ups.models import BilledUsage

#: Bills usage in the middle of a period that goes on.
THRESHOLD = "subscription_threshold"

#: Lines of sampled meters, and those that were mirrored before they had a kind of their own.
SAMPLED_KINDS = (LineKind.SAMPLED, LineKind.CUSTOM)


@dataclass(slots=True)
class _Sum:
    period_end: datetime
    units: int = 0
    amount_minor: int = 0


def billed_for_event() -> Exists:
    """A condition on meter events: their payer's meter is billed at their timestamp."""
    return Exists(
        BilledUsage.objects.filter(
            payer=OuterRef("payer_id"),
            meter=OuterRef("meter"),
            period_start__lte=OuterRef("at"),
            period_end__gt=OuterRef("at"),
        )
    )


def record_billed_usage(*, invoice: StripeInvoice, now: datetime) -> int:
    """Write down what a finalized invoice billed of our meters. Returns how many rows that are new; safe to repeat."""
    if invoice.account_id is None or invoice.finalized_at is None or invoice.billing_reason == THRESHOLD:
        return 0
    sums: dict[tuple[str, datetime], _Sum] = {}
    for meter, line in _read_usage_lines(invoice):
        found = sums.setdefault((meter, line.period_start), _Sum(line.period_end))
        found.units += line.quantity or 0
        found.amount_minor += line.amount_minor
    rows = [
        BilledUsage(
            stripe_invoice_id=invoice.stripe_invoice_id,
            payer_id=invoice.account_id,
            meter=meter,
            period_start=start,
            period_end=billed.period_end,
            units=billed.units,
            amount_minor=billed.amount_minor,
            currency=invoice.currency,
            finalized_at=invoice.finalized_at,
            recorded_at=now,
        )
        for (meter, start), billed in sums.items()
    ]
    known = set(
        BilledUsage.objects.filter(stripe_invoice_id=invoice.stripe_invoice_id).values_list(
            "meter", "period_start"
        )
    )
    missing = [row for row in rows if (row.meter, row.period_start) not in known]
    BilledUsage.objects.bulk_create(missing, ignore_conflicts=True)
    return len(missing)


def _read_usage_lines(invoice: StripeInvoice) -> Iterable[tuple[str, StripeInvoiceLine]]:
    lines = [
        line
        for line in invoice.lines.all()
        if not line.invoice_item
        and line.kind not in (LineKind.SUB, LineKind.MANAGED)
        and line.period_start < line.period_end <= invoice.created_at
    ]
    sampled = find_sampled_products({line.product for line in lines if line.kind in SAMPLED_KINDS})
    for line in lines:
        meter = line.kind if line.kind in USAGE_TYPES else sampled.get(line.product)
        if meter is not None:
            yield meter, line


def find_sampled_products(products: Iterable[str]) -> dict[str, str]:
    """Which of these Stripe products are a sampled meter's, with its event name."""
    wanted = {product for product in products if product}
    if not wanted:
        return {}
    found = CatalogProduct.objects.filter(stripe_product_id__in=wanted).exclude(kind__in=LineKind.values)
    return dict(found.values_list("stripe_product_id", "kind"))


def record_missing(*, now: datetime) -> int:
    """What a lost webhook left out: finalized invoices with usage lines of which nothing is written down."""
    usage = StripeInvoiceLine.objects.filter(
        invoice=OuterRef("pk"),
        invoice_item="",
        period_start__lt=F("period_end"),
        period_end__lte=OuterRef("created_at"),
    ).filter(Q(kind__in=USAGE_TYPES) | (Q(kind__in=SAMPLED_KINDS) & ~Q(product="")))
    known = BilledUsage.objects.filter(stripe_invoice_id=OuterRef("stripe_invoice_id"))
    invoices: QuerySet[StripeInvoice] = StripeInvoice.objects.filter(
        Exists(usage), ~Exists(known), account__isnull=False, finalized_at__isnull=False
    ).exclude(billing_reason=THRESHOLD)
    return sum(record_billed_usage(invoice=invoice, now=now) for invoice in invoices.iterator())
