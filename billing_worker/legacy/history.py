"""Reads of the old service's whole past, month by month in flat memory. Months are texts: old rows may hold any."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from django.db.models import Count, Max, Sum

from billing_worker.legacy.models import LegacyInvoice, LegacyInvoiceLine
from billing_worker.legacy.selectors import LegacyBill, reading_legacy

_CHUNK = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyMonth:
    """A period that has invoices. Another `fingerprint` says that some of them changed; lines are not looked at."""

    period: str
    invoices: int
    fingerprint: str


def list_months() -> list[LegacyMonth]:
    """Every period with invoices, in order; one query.

    Raises:
        LegacyUnavailable: the database can't be read.
    """
    with reading_legacy():
        groups = list(
            LegacyInvoice.objects.order_by("period", "currency", "status")
            .values_list("period", "currency", "status")
            .annotate(
                Count("inv_id"),
                Max("inv_id"),
                Sum("subtotal"),
                Sum("tax"),
                Sum("total"),
                Count("paid_at"),
                Max("paid_at"),
                Count("stripe_invoice_id"),
                Count("pdf_url"),
            )
        )
    counts: defaultdict[str, int] = defaultdict(int)
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for period, currency, status, count, *figures in groups:
        counts[period] += count
        texts[period].append(f"{currency} {status} {count} {' '.join(str(figure) for figure in figures)}")
    return [
        LegacyMonth(
            period=period,
            invoices=counts[period],
            fingerprint=sha256("\n".join(texts[period]).encode()).hexdigest(),
        )
        for period in sorted(texts)
    ]


def iter_bills(period: str) -> Iterator[LegacyBill]:
    """Every invoice of a period with its lines, whatever its status, by `inv_id`; a thousand at a time.

    Raises:
        LegacyUnavailable: the database can't be read.
    """
    last_id: int | None = None
    while True:
        with reading_legacy():
            invoices = LegacyInvoice.objects.filter(period=period).order_by("inv_id")
            if last_id is not None:
                invoices = invoices.filter(inv_id__gt=last_id)
            chunk = list(invoices[:_CHUNK])
            lines: defaultdict[int, list[LegacyInvoiceLine]] = defaultdict(list)
            found = LegacyInvoiceLine.objects.filter(inv_id__in=[invoice.inv_id for invoice in chunk])
            for line in found.order_by("id") if chunk else ():
                lines[line.inv_id].append(line)
        for invoice in chunk:
            yield LegacyBill(invoice=invoice, lines=tuple(lines[invoice.inv_id]))
        if len(chunk) < _CHUNK:
            return
        last_id = chunk[-1].inv_id
