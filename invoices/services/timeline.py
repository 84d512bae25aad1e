"""The story of one invoice, from Stripe's events, its documents and its mails."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from billing_worker.mirror.models import StripeInvoice
from invoices.models import InvoiceDocument, InvoiceEvent, InvoiceMail

#: What the mail service said of an address is recorded beside Stripe's events, under names that begin so.
_TRACKING: Final = "mail_"
_BAD_EVENTS: Final = ("payment_failed", "marked_uncollectible", "voided", "finalization_failed")
_TONES: Final = {
    "delivered": "success",
    "bounced": "danger",
    "failed": "danger",
    "complained": "danger",
    "deferred": "warning",
}


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


def compile_timeline(invoice: StripeInvoice, *, subject: str = "") -> list[TimelineEntry]:
    """Everything that happened to an invoice here, oldest first; with `subject` only what concerns that document of it.

    Three statements, however much there is.
    """
    loaded = invoice.documents.defer("content").prefetch_related("mails")
    documents = [one for one in loaded if not subject or one.subject == subject]
    mails = {str(mail.pk): (mail, one) for one in documents for mail in one.mails.all()}
    numbers = {one.number for one in documents}
    entries = []
    for event in invoice.timeline.all():
        if event.name.startswith(_TRACKING):
            # Its source begins `mail:<key of the mail>:`.
            mail, document = mails.get(event.source.split(":")[1], (None, None))
            if mail is not None and document is not None:
                entries.append(_tell_tracking(event, mail, _name_what(document)))
        elif not subject or event.detail.get("number") in numbers:
            entries.append(_tell_event(event))
    for document in documents:
        entries += _tell_document(document)
        for mail in document.mails.all():
            entries += _tell_mail(mail, _name_what(document))
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


def _tell_event(event: InvoiceEvent) -> TimelineEntry:
    return TimelineEntry(
        event.recorded_at,
        0,
        f"Stripe: {event.name.replace('_', ' ')}",
        "; ".join([f"at {event.at:%Y-%m-%d %H:%M} UTC in Stripe's time", *_describe(event.detail)]),
        "danger" if event.name in _BAD_EVENTS else "success" if event.name == "paid" else "info",
    )


def _tell_tracking(event: InvoiceEvent, mail: InvoiceMail, what: str) -> TimelineEntry:
    """The mail service's word on one address of one mail."""
    state = event.name.removeprefix(_TRACKING)
    recipient, said = event.detail.get("recipient") or "", event.detail.get("detail") or ""
    is_copy = recipient.lower() in (address.lower() for address in mail.bcc)
    return TimelineEntry(
        event.recorded_at,
        5,
        f"{'Blind copy of mail' if is_copy else 'Mail'}{what} {state}",
        f"to {recipient}{f': {said}' if said else ''}",
        _TONES.get(state, "info"),
    )


def _tell_document(document: InvoiceDocument) -> list[TimelineEntry]:
    name = f"{_name_document(document)} revision {document.revision}"
    by = f" by {document.requested_by}" if document.requested_by else ""
    entries = [TimelineEntry(document.created_at, 1, f"{name} made", f"{document.reason}{by}")]
    if document.blocked_reason:
        entries.append(
            TimelineEntry(document.created_at, 2, f"{name} blocked", document.blocked_reason, "danger")
        )
    if document.stored_at:
        pages = f"{document.pdf_pages} page{'' if document.pdf_pages == 1 else 's'}"
        detail = f"{pages}, {(document.pdf_bytes or 0) / 1000:.0f} kB, took {document.render_ms} ms"
        entries.append(TimelineEntry(document.stored_at, 2, f"{name} rendered and stored", detail, "success"))
    elif document.last_error:
        state = document.get_state_display().lower()
        entries.append(
            TimelineEntry(document.created_at, 2, f"{name}: {state}", document.last_error, "danger")
        )
    return entries


def _name_document(document: InvoiceDocument) -> str:
    """`Invoice`, `Receipt ACC-0001-R1`: the invoice has one story, and what else was made for it has a number."""
    kind = document.get_kind_display()
    return f"{kind} {document.number}" if document.subject else kind


def _name_what(document: InvoiceDocument) -> str:
    return f" with {_name_document(document)}" if document.subject else ""


def _tell_mail(mail: InvoiceMail, what: str) -> list[TimelineEntry]:
    to = ", ".join([*mail.to, *mail.cc])
    by = f"; {mail.reason} ({mail.requested_by})" if mail.requested_by else ""
    entries = [TimelineEntry(mail.queued_at, 3, f"Mail{what} queued", f"to {to or 'nobody'}{by}")]
    if mail.sent_at:
        entries.append(TimelineEntry(mail.sent_at, 4, f"Mail{what} sent", f"to {to}", "success"))
    # What became of each address is told by the mail service's own words.
    if mail.settled_at and not mail.recipients:
        tone = _TONES.get(mail.state, "info")
        entries.append(TimelineEntry(mail.settled_at, 5, f"Mail{what} {mail.state}", mail.last_error, tone))
    elif mail.last_error and not mail.recipients:
        at = mail.claimed_at or mail.queued_at
        entries.append(TimelineEntry(at, 4, f"Mail{what} {mail.state}", mail.last_error, "danger"))
    return entries


def _describe(detail: dict[str, Any]) -> list[str]:
    """What an event says beside its name, in words."""
    words = []
    for key, value in detail.items():
        if value is None:
            continue
        if key == "attempt_count":
            words.append(f"attempt {value}")
        elif key == "next_payment_attempt_at":
            words.append(f"Stripe tries again at {value} UTC")
        else:
            words.append(f"{key.replace('_', ' ')} {value}")
    return words
