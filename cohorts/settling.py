"""Whether anything is still on its way: webhooks, meter events, documents, mails. Read only."""

from __future__ import annotations

from dataclasses import dataclass

from billing_worker.webhooks.models import InboxEvent
from billing_worker.webhooks.states import InboxState
from invoices.models import InvoiceDocument, InvoiceMail
from invoices.selectors import select_undocumented
from invoices.services.credit_notes import select_undocumented_notes
from invoices.services.payments import select_unread_payments
from invoices.states import DocumentState, MailState
from metering.models import MeterEvent
from metering.states import OPEN_STATES, EventState
from metering.true_ups.billed import billed_for_event


@dataclass(frozen=True, slots=True)
class OpenWork:
    """How much is on its way, and how much ended badly and waits for a person."""

    events: int
    failed_events: int
    meter_events: int
    payments: int
    undocumented: int
    documents: int
    stuck_documents: int
    mails: int
    stuck_mails: int

    @property
    def is_settled(self) -> bool:
        return not any(
            (self.events, self.meter_events, self.payments, self.undocumented, self.documents, self.mails)
        )

    @property
    def is_stuck(self) -> bool:
        return bool(self.failed_events or self.stuck_documents or self.stuck_mails)

    def __str__(self) -> str:
        documents = self.undocumented + self.documents
        moving = (
            f"{self.events} webhooks, {self.meter_events} meter events, {self.payments} payments, "
            f"{documents} documents, {self.mails} mails"
        )
        stuck = f"{self.failed_events} webhooks, {self.stuck_documents} documents, {self.stuck_mails} mails"
        return f"{moving} on their way; stuck: {stuck}"


def count_open_work() -> OpenWork:
    """A snapshot over all accounts."""
    documents, mails = InvoiceDocument.objects, InvoiceMail.objects
    return OpenWork(
        events=InboxEvent.objects.filter(state__in=[InboxState.RECEIVED, InboxState.PROCESSING]).count(),
        failed_events=InboxEvent.objects.filter(state=InboxState.FAILED).count(),
        meter_events=MeterEvent.objects.filter(state__in=OPEN_STATES)
        .exclude(billed_for_event(), state=EventState.PENDING)
        .count(),
        payments=select_unread_payments().count(),
        undocumented=select_undocumented(("open", "paid")).count() + select_undocumented_notes().count(),
        documents=documents.filter(state__in=[DocumentState.PENDING, DocumentState.RENDERING]).count(),
        stuck_documents=documents.filter(state__in=[DocumentState.BLOCKED, DocumentState.FAILED]).count(),
        mails=mails.filter(state__in=[MailState.QUEUED, MailState.SENDING]).count(),
        stuck_mails=mails.filter(state__in=[MailState.UNKNOWN, MailState.FAILED, MailState.REFUSED]).count(),
    )
