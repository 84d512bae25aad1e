"""Finds what a lost kick, a killed worker or a late line left behind, and puts it back on its way."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef

from billing_worker.alerts.kicks import send_kick
from billing_worker.deadlocks import retry_when_undone
from billing_worker.mirror.models import StripeInvoice
from invoices.batches.services import kick_waiting_batches
from invoices.models import InvoiceDocument, InvoiceMail
from invoices.previewing.services import sweep_comparisons
from invoices.selectors import list_undocumented, select_due_documents, select_due_mails
from invoices.services.charge_decisions import resolve_charges
from invoices.services.credit_notes import ensure_credit_note, select_undocumented_notes
from invoices.services.documents import FINAL_STATUSES, ensure_document, release_stale_renders
from invoices.services.mails import CLAIM_EXPIRES_AFTER, queue_first_mail, resolve_stale_mails
from invoices.services.managed import release_stale_charges
from invoices.services.payments import select_unread_payments
from invoices.services.receipts import ensure_receipt, select_unreceipted
from invoices.services.tracking import alert_silent_mails, settle_unknown_mails
from invoices.states import DocumentState

log = structlog.get_logger(__name__)

#: At most this many of each kind in one run: the next run takes the rest, and a task stays short.
BATCH: Final = 500
#: How old a document may be to be looked at for a mail that is missing.
MISSING_WITHIN: Final = timedelta(days=7)


@dataclass(slots=True)
class SweepReport:
    """How many rows of each kind a sweep found and moved."""

    documents_created: int = 0
    renders_released: int = 0
    documents_kicked: int = 0
    mails_queued: int = 0
    mails_resolved: int = 0
    mails_settled: int = 0
    mails_kicked: int = 0
    mails_silent: int = 0
    charges_released: int = 0
    charges_resolved: int = 0
    payments_kicked: int = 0
    receipts_created: int = 0
    credit_notes_created: int = 0
    comparisons_kicked: int = 0
    batches_kicked: int = 0


@retry_when_undone
def sweep_invoices(*, now: datetime, stale_after: timedelta = CLAIM_EXPIRES_AFTER) -> SweepReport:
    """Look once for everything that is late. Call it outside a transaction; two at once do no harm."""
    report = SweepReport()
    for invoice_id in list_undocumented(FINAL_STATUSES, limit=BATCH):
        report.documents_created += _make_missing_document(invoice_id, now)
    for note in select_undocumented_notes()[:BATCH]:
        report.credit_notes_created += (
            ensure_credit_note(stripe_credit_note_id=note.stripe_credit_note_id, reason="sweeper", now=now)
            is not None
        )
    for payment in select_unreceipted()[:BATCH]:
        report.receipts_created += ensure_receipt(payment, reason="sweeper", now=now) is not None
    report.renders_released = release_stale_renders(now=now, older_than=stale_after)
    for document_id in list(select_due_documents(now).values_list("pk", flat=True)[:BATCH]):
        report.documents_kicked += send_kick("invoices.render_document", document_id)
    report.mails_queued = _queue_missing_mails(now)
    report.mails_resolved = resolve_stale_mails(now=now, older_than=stale_after)
    report.mails_settled = settle_unknown_mails(now=now)
    for mail_id in list(select_due_mails(now).values_list("pk", flat=True)[:BATCH]):
        report.mails_kicked += send_kick("invoices.deliver_mail", mail_id)
    report.mails_silent = alert_silent_mails(now=now)
    report.charges_released = release_stale_charges(now=now)
    report.charges_resolved = resolve_charges(now=now)
    for invoice_id in list(select_unread_payments().values_list("invoice_id", flat=True)[:BATCH]):
        report.payments_kicked += send_kick("invoices.read_payments", invoice_id)
    report.comparisons_kicked = sweep_comparisons(now=now)
    report.batches_kicked = kick_waiting_batches()
    if any(asdict(report).values()):
        log.info("invoices_swept", **asdict(report))
    return report


def _make_missing_document(invoice_id: int, now: datetime) -> bool:
    """The first document of an invoice that has none. An event of it that is taken in at the same moment waits, or is
    waited for: each would find nothing, and print another state of the invoice as a revision of its own."""
    with transaction.atomic():
        StripeInvoice.objects.select_for_update().only("pk").get(pk=invoice_id)
        return ensure_document(invoice_id=invoice_id, reason="sweeper", now=now) is not None


def _queue_missing_mails(now: datetime) -> int:
    """Stored documents (not a person's revisions) whose invoice has no mail. The settling transaction writes both, so
    this finds none; it is here because an invoice that never arrives is what everybody fears most. Documents older than
    `MISSING_WITHIN` were looked at hundreds of times: reading them all again would take longer than the rest."""
    mails = InvoiceMail.objects.filter(
        document__invoice=OuterRef("invoice"),
        document__kind=OuterRef("kind"),
        document__subject=OuterRef("subject"),
    )
    missing = InvoiceDocument.objects.filter(
        ~Exists(mails), created_at__gte=now - MISSING_WITHIN, state=DocumentState.STORED, requested_by=""
    )
    keys = list(missing.order_by("created_at").values_list("pk", flat=True)[:BATCH])
    found = InvoiceDocument.objects.filter(pk__in=keys)
    return sum(queue_first_mail(document=document, now=now) is not None for document in found)
