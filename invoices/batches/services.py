"""Start a batch, and work its items off. A killed worker's item is done or waits, never both and never twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import F

from billing_worker.accounts.audit import record_audit
from billing_worker.alerts.kicks import kick, send_kick
from billing_worker.core.errors import BillingError, InvalidInput
from billing_worker.deadlocks import retry_when_undone
from invoices.addresses import check_reason, split_addresses
from invoices.batches.models import BatchAction, BatchItem, DocumentBatch, ItemState
from invoices.models import InvoiceDocument, InvoiceMail
from invoices.services.documents import request_revision
from invoices.services.mails import resend_document

#: More at once is rarely meant. A page of the list has 50; "select all" reaches further.
MAX_ITEMS: Final = 500
#: Tries that ended without a word (a worker died, an error in the code) before an item is given up.
MAX_ATTEMPTS: Final = 3
TASK: Final = "invoices.run_batch"


def start_batch(
    *, action: BatchAction, document_ids: Sequence[int], reason: str, actor: str, now: datetime
) -> DocumentBatch:
    """Ask for the same thing for many documents; a worker does it. Check the person's permission first.

    Resending mails each document to the present contacts of its account.

    Raises:
        InvalidInput: no reason, no document, or more than 500.
    """
    reason = check_reason(reason)
    chosen = list(dict.fromkeys(document_ids))
    if not chosen:
        raise InvalidInput("choose at least one document")
    if len(chosen) > MAX_ITEMS:
        raise InvalidInput(f"more than {MAX_ITEMS} documents are too many at once: choose fewer")
    with transaction.atomic():
        batch = DocumentBatch.objects.create(
            action=action, reason=reason, requested_by=actor, requested_at=now
        )
        BatchItem.objects.bulk_create(BatchItem(batch=batch, document_id=pk) for pk in chosen)
        record_audit(
            actor=actor,
            action=f"invoices.batch_{action}",
            subject_type="DocumentBatch",
            subject_id=batch.pk,
            at=now,
            reason=reason,
            after={"documents": len(chosen)},
        )
        kick(TASK, batch.pk)
    return batch


def list_waiting(*, batch_id: int, limit: int) -> list[int]:
    """The items to be done next: those that took a worker with them come last."""
    waiting = BatchItem.objects.filter(batch=batch_id, state=ItemState.WAITING)
    return list(waiting.order_by("attempts", "pk").values_list("pk", flat=True)[:limit])


def run_item(*, item_id: int, now: datetime) -> bool:
    """Do one item, if it still waits. Call it outside a transaction. True if this call settled it.

    What is done and that it is done are committed together.
    """
    waiting = BatchItem.objects.filter(pk=item_id, state=ItemState.WAITING)
    if not waiting.update(attempts=F("attempts") + 1):
        return False
    return _settle(item_id, now)


@retry_when_undone
def _settle(item_id: int, now: datetime) -> bool:
    with transaction.atomic():
        waiting = BatchItem.objects.filter(pk=item_id, state=ItemState.WAITING)
        if not waiting.update(state=ItemState.DONE, settled_at=now):
            return False
        item = BatchItem.objects.select_related("batch", "document__account").get(pk=item_id)
        if item.attempts > MAX_ATTEMPTS:
            item.state, item.detail = ItemState.REFUSED, "gave up: workers did not come back from it"
        else:
            try:
                with transaction.atomic():
                    _act(item, now)
            except BillingError as error:
                item.state, item.detail = ItemState.REFUSED, str(error)[:500]
        item.save(update_fields=["state", "detail", "mail", "made"])
    return True


def _act(item: BatchItem, now: datetime) -> None:
    batch, document = item.batch, item.document
    if batch.action == BatchAction.RESEND:
        item.mail = _resend(batch, document, now)
    else:
        item.made = request_revision(
            invoice_id=document.invoice_id,
            subject=document.subject,
            reason=batch.reason,
            actor=batch.requested_by,
            now=now,
        )


def _resend(batch: DocumentBatch, document: InvoiceDocument, now: datetime) -> InvoiceMail:
    account = document.account
    contacts = [*split_addresses(account.billing_email), *split_addresses(account.billing_cc)]
    if not contacts:
        raise InvalidInput(f"{account} has no billing contact")
    return resend_document(
        document_id=document.pk, to=contacts, reason=batch.reason, actor=batch.requested_by, now=now
    )


def kick_waiting_batches() -> int:
    """Wake workers for batches that a lost kick or a killed worker left behind. The number kicked."""
    waiting = BatchItem.objects.filter(state=ItemState.WAITING).order_by().values_list("batch", flat=True)
    return sum(send_kick(TASK, batch_id) for batch_id in waiting.distinct())
