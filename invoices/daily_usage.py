"""The usage by day behind an invoice's lines, for the chart: only where it adds up to exactly what is billed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Final

from django.conf import settings
from django.utils.module_loading import import_string

from billing_worker.core.rating import USAGE_TYPES, UsageType
from billing_worker.mirror.models import StripeInvoice, StripeInvoiceLine
from invoices.content import DailyUsage, UsageSeries
from invoices.states import DocumentKind

#: What `INVOICE_USAGE_DAYS` names: customer and half-open bounds at midnight (UTC) to units by type and day.
UsageDays = Callable[..., Mapping[UsageType, Sequence[int]]]
#: A chart is of a month. Longer stretches (a yearly price) have none.
MAX_DAYS: Final = 31


def find_daily_usage(invoice: StripeInvoice, lines: Sequence[StripeInvoiceLine]) -> DailyUsage | None:
    """The days of the usage that these lines bill; None where they are not known or add up to something else.

    What an earlier document of the invoice was printed with is kept: later corrections are not what it bills.
    """
    documents = [one for one in invoice.documents.all() if one.kind == DocumentKind.INVOICE]
    printed = max(documents, key=lambda document: document.revision, default=None)
    if printed is not None and printed.content.get("daily_usage"):
        return DailyUsage.model_validate(printed.content["daily_usage"])
    billed = sum_units(lines)
    bounds = {(line.period_start, line.period_end) for line in lines if line.kind in billed and line.quantity}
    if not billed or len(bounds) != 1 or not settings.INVOICE_USAGE_DAYS:
        return None
    start, end = bounds.pop()
    if not (_is_midnight(start) and _is_midnight(end) and timedelta(0) < end - start <= timedelta(MAX_DAYS)):
        return None
    get_days: UsageDays = import_string(settings.INVOICE_USAGE_DAYS)
    days = get_days(invoice.customer, start_at=start, end_at=end)
    told = {kind: sum(units) for kind, units in days.items() if sum(units)}
    if told != billed or any(quantity < 0 for units in days.values() for quantity in units):
        return None
    series = [UsageSeries(kind=kind, units=tuple(days[kind])) for kind in USAGE_TYPES if kind in billed]
    return DailyUsage(start_date=start.date(), series=tuple(series))


def sum_units(lines: Sequence[StripeInvoiceLine]) -> dict[UsageType, int]:
    """Billed units by usage type; types without any are left out."""
    units: dict[UsageType, int] = {}
    for line in lines:
        if line.kind in USAGE_TYPES and line.quantity:
            units[line.kind] = units.get(line.kind, 0) + line.quantity
    return units


def _is_midnight(moment: datetime) -> bool:
    return moment.timetz().replace(tzinfo=None) == time(0)
