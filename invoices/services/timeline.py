"""The story of one invoice, from Stripe's events, its documents and its mails."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from billing_worker.mirror.models import StripeInvoice
from invoices.models import InvoiceDocument, InvoiceEvent, InvoiceMail


def record_event(
    *, invoice_id: int, name: str, at: datetime, source: str, detail: dict[str, Any], now: datetime
) -> InvoiceEvent | None:
    """Put something on an invoice's timeline, once per source. None if it is there already.

    Call it in a transaction that holds the row which `source` names (the inbox's event, the mail): then nobody else
    records it meanwhile. Without one the unique key refuses the second, and its transaction with it.
    """
    if InvoiceEvent.objects.filter(source=source).exists():
        return None
    return InvoiceEvent.objects.create(
        invoice_id=invoice_id, name=name, at=at, recorded_at=now, source=source, detail=detail
    )


@dataclass(frozen=True, slots=True, order=True)
class TimelineEntry:
    """One line of the story. `at` is our clock's time, so that durations between entries mean something."""

    at: datetime
    rank: int
    title: str = field(compare=False)
    detail: str = field(compare=False, default="")
    tone: str = field(compare=False, default="")


def compile_timeline(invoice: StripeInvoice) -> list[TimelineEntry]:
    """Everything that happened to an invoice here, oldest first."""
    entries = [
        TimelineEntry(
            event.recorded_at,
            0,
            f"Stripe: {event.name.replace('_', ' ')}",
            f"at {event.at:%Y-%m-%d %H:%M} UTC in Stripe's time {_describe(event.detail)}".strip(),
            "danger" if event.name in ("payment_failed", "marked_uncollectible") else "info",
        )
        for event in invoice.timeline.all()
    ]
    for document in invoice.documents.all():
        entries += _tell_document(document)
        for mail in document.mails.all():
            entries += _tell_mail(mail, "" if not document.subject else f" with {_name_document(document)}")
    return sorted(entries)


def measure_steps(entries: list[TimelineEntry]) -> list[tuple[TimelineEntry, str]]:
    """Each entry with the time since the one before it, like `+2.5 s`, `+4 min`, `+3 d`; the first has none."""
    steps = []
    before: datetime | None = None
    for entry in entries:
        steps.append((entry, "" if before is None else _format_gap((entry.at - before).total_seconds())))
        before = entry.at
    return steps


def _format_gap(seconds: float) -> str:
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"+{seconds / size:.1f} {unit}" if unit == "s" else f"+{seconds / size:.0f} {unit}"
    return f"+{seconds / 86400:.0f} d"


def _tell_document(document: InvoiceDocument) -> list[TimelineEntry]:
    name = f"{_name_document(document)} revision {document.revision}"
    by = f" by {document.requested_by}" if document.requested_by else ""
    entries = [TimelineEntry(document.created_at, 1, f"{name} made", f"{document.reason}{by}")]
    if document.blocked_reason:
        entries.append(
            TimelineEntry(document.created_at, 2, f"{name} blocked", document.blocked_reason, "danger")
        )
    if document.stored_at:
        detail = (
            f"{document.pdf_pages} page(s), {document.pdf_bytes} bytes in {document.render_ms} ms, "
            f"SHA-256 {document.pdf_sha256[:12]}"
        )
        entries.append(TimelineEntry(document.stored_at, 2, f"{name} rendered and stored", detail, "success"))
    elif document.last_error:
        entries.append(
            TimelineEntry(document.created_at, 2, f"{name}: {document.state}", document.last_error, "danger")
        )
    return entries


def _name_document(document: InvoiceDocument) -> str:
    """`Invoice`, `Receipt ACC-0001-R1`: the invoice has one story, and what else was made for it has a number."""
    kind = document.get_kind_display()
    return f"{kind} {document.number}" if document.subject else kind


def _tell_mail(mail: InvoiceMail, what: str) -> list[TimelineEntry]:
    to = ", ".join([*mail.to, *mail.cc])
    by = f"{mail.reason} ({mail.requested_by})" if mail.requested_by else ""
    entries = [TimelineEntry(mail.queued_at, 3, f"Mail{what} queued", f"to {to} {by}".strip())]
    if mail.sent_at:
        entries.append(TimelineEntry(mail.sent_at, 4, f"Mail{what} sent", f"to {to}", "success"))
    if mail.settled_at:
        entries.append(TimelineEntry(mail.settled_at, 5, f"Mail{what} {mail.state}", mail.last_error))
    elif mail.last_error:
        at = mail.claimed_at or mail.queued_at
        entries.append(TimelineEntry(at, 4, f"Mail{what} {mail.state}", mail.last_error, "danger"))
    return entries


def _describe(detail: dict[str, Any]) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')}: {value}" for key, value in detail.items() if value is not None
    )
