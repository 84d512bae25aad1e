"""Documents: made once for a finalized invoice, rendered and stored once for each revision.

The rows are the queue of record. A worker claims one by a conditional update, works outside any transaction, and
settles it under its claim token: a worker that was thought dead and comes back settles nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from time import perf_counter
from typing import Final

import structlog
from django.db import IntegrityError, transaction
from django.db.models import F, Q, prefetch_related_objects

from billing_worker.accounts.audit import record_audit
from billing_worker.alerts.metrics import DOCUMENT_SECONDS, DOCUMENTS_RENDERED
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import AlertName, Severity
from billing_worker.core.errors import BillingError, Conflict
from billing_worker.core.periods import Period
from billing_worker.deadlocks import retry_when_undone
from billing_worker.mirror.models import StripeInvoice
from invoices.addresses import check_addresses, check_reason
from invoices.building import InvoiceIncomplete, build_content
from invoices.checking import find_mismatches
from invoices.content import InvoiceContent, compute_content_hash, dump_content, load_content
from invoices.einvoice import find_einvoice_problems
from invoices.models import InvoiceDocument
from invoices.rendering.pdf import render_pdf
from invoices.rendering.versions import get_current_version
from invoices.selectors import is_ours
from invoices.services.mails import queue_mail
from invoices.services.waking import wake_for_document
from invoices.states import DocumentKind, DocumentState
from invoices.storage import StoredFile, store_pdf
from invoices.subjects import build_subject
from invoices.truth import find_untruths

log = structlog.get_logger(__name__)

MAX_ATTEMPTS: Final = 5
#: A render takes seconds at most: a claim this old belongs to a worker that is gone.
CLAIM_EXPIRES_AFTER: Final = timedelta(minutes=10)
FINAL_STATUSES: Final = ("open", "paid", "uncollectible", "void")


class NothingWouldChange(Conflict):
    """The invoice and the template are as they were: a new revision would be the same file. Download that one."""

    code = "nothing_would_change"


class WorkerLost(BillingError):
    """The process that worked on something ended before it was done."""

    code = "worker_lost"


def ensure_document(*, invoice_id: int, reason: str, now: datetime) -> InvoiceDocument | None:
    """Make the first document of a finalized invoice, if it is ours, complete and has none yet.

    Safe to call any number of times, from any number of workers. None where there is nothing to make: a draft, a
    foreign invoice, or one whose lines are not all mirrored yet (the sweeper comes back for it).
    """
    loaded = StripeInvoice.objects.select_related("account").prefetch_related("lines")
    return ensure_document_of(invoice=loaded.get(pk=invoice_id), reason=reason, now=now)


def ensure_document_of(*, invoice: StripeInvoice, reason: str, now: datetime) -> InvoiceDocument | None:
    """`ensure_document` for an invoice that was just read, with its payer and lines."""
    # Asked for here and where the revision is made.
    prefetch_related_objects([invoice], "documents")
    if invoice.status not in FINAL_STATUSES or not is_ours(invoice):
        return None
    for existing in invoice.documents.all():
        if existing.kind == DocumentKind.INVOICE:
            return existing
    try:
        return create_revision(invoice, build_content(invoice), reason=reason, requested_by="", now=now)
    except InvoiceIncomplete as error:
        log.info("document_waits_for_lines", invoice=invoice.stripe_invoice_id, why=str(error))
        return None


def stamp_void(*, invoice_id: int, reason: str, now: datetime) -> InvoiceDocument | None:
    """Make the VOID revision of an invoice that was printed before it was voided. Safe to repeat.

    It supersedes what was printed before and is not mailed by itself, unless nothing was mailed yet: then its mail is
    the invoice's one mail, and says not to pay. None where there is nothing to make.
    """
    document = ensure_document(invoice_id=invoice_id, reason=reason, now=now)
    if document is None:
        return None
    invoice = StripeInvoice.objects.select_related("account").get(pk=invoice_id)
    if invoice.status != "void":
        return document
    try:
        return create_revision(invoice, build_content(invoice), reason=reason, requested_by="", now=now)
    except NothingWouldChange:
        return document
    except InvoiceIncomplete as error:
        log.info("document_waits_for_lines", invoice=invoice.stripe_invoice_id, why=str(error))
        return document


def request_revision(
    *,
    invoice_id: int,
    reason: str,
    actor: str,
    now: datetime,
    subject: str = "",
    mail_to: Sequence[str] = (),
) -> InvoiceDocument:
    """Make a new revision at a person's request: as the invoice is now, with the template as it is now.

    `subject` names a payment or a credit note of the invoice; empty means the invoice itself. A document that had given
    up is tried again instead. It is mailed to `mail_to` once it is stored; without addresses it is mailed by
    `resend_document` only.

    Raises:
        InvalidInput: no reason, or an address that can't be mailed to.
        NothingWouldChange: the newest revision already says exactly this.
        InvoiceIncomplete: not every line is mirrored.
    """
    reason = check_reason(reason)
    check_addresses(mail_to)
    with transaction.atomic():
        # MariaDB knows no FOR UPDATE OF: lock the row alone, read what belongs to it afterwards.
        invoice = StripeInvoice.objects.select_for_update().get(pk=invoice_id)
        content = build_subject(invoice, subject)
        document = create_revision(
            invoice, content, reason=reason, requested_by=actor, mail_to=mail_to, now=now
        )
        record_audit(
            actor=actor,
            action="invoices.revision_requested",
            subject_type="InvoiceDocument",
            subject_id=document.pk,
            at=now,
            reason=reason,
            after={
                "revision": document.revision,
                "template_version": document.template_version,
                "mail_to": list(mail_to),
            },
        )
    return document


def create_revision(
    invoice: StripeInvoice,
    content: InvoiceContent,
    *,
    reason: str,
    requested_by: str,
    now: datetime,
    mail_to: Sequence[str] = (),
) -> InvoiceDocument:
    """Make the next revision of what the content is about: an invoice, or a payment or credit note of it.

    Unique on subject, content and template version, so that two workers make one. `requested_by` is a person's name.

    Raises:
        NothingWouldChange: there is a revision that says exactly this.
    """
    content_hash = compute_content_hash(content)
    version = get_current_version()
    known = [
        document
        for document in invoice.documents.all()
        if document.kind == content.document_kind and document.subject == content.subject
    ]
    for document in known:
        if (document.content_hash, document.template_version) == (content_hash, version):
            return _revive(document, mail_to=mail_to, now=now)
    problems = [mismatch.message for mismatch in find_mismatches(content)] + find_einvoice_problems(content)
    newest = max((document.revision for document in known), default=0)
    document = InvoiceDocument(
        invoice=invoice,
        account_id=content.account_id,
        kind=content.document_kind,
        subject=content.subject,
        revision=newest + 1,
        reason=reason,
        requested_by=requested_by,
        mail_to=", ".join(mail_to),
        number=content.number,
        period=str(Period.of(content.period_start)),
        currency=content.currency,
        total_minor=content.total_minor,
        locale=content.locale,
        content=dump_content(content),
        content_hash=content_hash,
        template_version=version,
        state=DocumentState.BLOCKED if problems else DocumentState.PENDING,
        blocked_reason="\n".join(problems),
        created_at=now,
    )
    try:
        with transaction.atomic():
            document.save(force_insert=True)
    except IntegrityError:
        # Another worker was faster between our look and our insert: with the same content, or with a revision before.
        made = InvoiceDocument.objects.filter(invoice=invoice, kind=document.kind, subject=document.subject)
        same = made.filter(content_hash=content_hash, template_version=version).first()
        if same is not None:
            return same
        if not made.filter(revision=document.revision).exists():
            raise
        fresh = StripeInvoice.objects.select_related("account").get(pk=invoice.pk)
        return create_revision(
            fresh, content, reason=reason, requested_by=requested_by, mail_to=mail_to, now=now
        )
    _announce(document, now=now)
    return document


def _announce(document: InvoiceDocument, *, now: datetime) -> None:
    if document.state == DocumentState.BLOCKED:
        raise_alert(
            name="invoice_mismatch",
            severity=Severity.CRITICAL,
            subject=document.number,
            detail=f"Nothing is rendered or sent until this is explained. {document.blocked_reason}",
            now=now,
            context={"document": document.pk},
        )
        return
    log.info("document_created", document=document.pk, number=document.number, revision=document.revision)
    wake_for_document(document.pk, now=now)


def _revive(document: InvoiceDocument, *, mail_to: Sequence[str], now: datetime) -> InvoiceDocument:
    """Try again what had given up, or what was blocked for its PDF: templates, fonts and code get mended."""
    waiting = Q(state=DocumentState.FAILED)
    if not find_mismatches(load_content(document.content)):
        waiting |= Q(state=DocumentState.BLOCKED)
    revived = InvoiceDocument.objects.filter(waiting, pk=document.pk).update(
        state=DocumentState.PENDING, attempts=0, next_attempt_at=None, last_error="", blocked_reason=""
    )
    if not revived:
        raise NothingWouldChange(
            f"revision {document.revision} of {document.number} already says exactly this ({document.state})"
        )
    if document.requested_by and mail_to:
        # One that nobody asked for keeps its automatic mail.
        InvoiceDocument.objects.filter(pk=document.pk).update(mail_to=", ".join(mail_to))
    document.refresh_from_db()
    # Somebody has taken it up; if it is still wrong, it is raised again.
    for name in (AlertName.PDF_FAILED, "invoice_mismatch"):
        resolve_alert(name=name, subject=document.number, now=now)
    wake_for_document(document.pk, now=now)
    return document


def render_document(*, document_id: int, now: datetime) -> bool:
    """Render a waiting document, store and verify its PDF, and queue its mail. Call it outside a transaction.

    Nobody is woken for the mail: whoever rendered delivers it next, and the sweeper finds it if they died.

    True if this call did it; False if it was not waiting (done, blocked, claimed by another worker, not due), or if the
    PDF does not say what Stripe says: then it is blocked with an alert, and nothing of it is stored.
    A failure is recorded with a back-off, and after five attempts it is given up with an alert.
    """
    token = str(uuid.uuid4())
    if not _claim_document(document_id, token, now):
        return False
    document = InvoiceDocument.objects.get(pk=document_id)
    document.claim_token = token
    started = perf_counter()
    try:
        content = load_content(document.content)
        pdf = render_pdf(content, version=document.template_version)
        untruths = find_untruths(content, pdf.body)
        if untruths:
            _settle_blocked(document, untruths, now=now)
            return False
        stored = store_pdf(
            name=make_storage_name(document),
            body=pdf.body,
            may_replace=lambda: _is_claimed(document_id, token),
        )
    except BillingError as error:
        _record_failure(document, error, now=now)
        return False
    seconds = perf_counter() - started
    settled = _settle_stored(
        document, content, stored, pages=pdf.pages, render_ms=round(seconds * 1000), now=now
    )
    if not settled:
        return False
    DOCUMENTS_RENDERED.labels(outcome="stored").inc()
    DOCUMENT_SECONDS.observe(seconds)
    return True


@retry_when_undone
def _claim_document(document_id: int, token: str, now: datetime) -> bool:
    due = Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=now)
    waiting = InvoiceDocument.objects.filter(due, pk=document_id, state=DocumentState.PENDING)
    return bool(
        waiting.update(
            state=DocumentState.RENDERING, claim_token=token, claimed_at=now, attempts=F("attempts") + 1
        )
    )


def _is_claimed(document_id: int, token: str) -> bool:
    return InvoiceDocument.objects.filter(
        pk=document_id, state=DocumentState.RENDERING, claim_token=token
    ).exists()


def make_storage_name(document: InvoiceDocument) -> str:
    return f"{document.account_id}/{document.uuid}.pdf"


@retry_when_undone
def _settle_stored(
    document: InvoiceDocument,
    content: InvoiceContent,
    stored: StoredFile,
    *,
    pages: int,
    render_ms: int,
    now: datetime,
) -> bool:
    with transaction.atomic():
        settled = InvoiceDocument.objects.filter(
            pk=document.pk, state=DocumentState.RENDERING, claim_token=document.claim_token
        ).update(
            state=DocumentState.STORED,
            stored_at=now,
            storage_name=stored.name,
            pdf_sha256=stored.sha256,
            pdf_bytes=stored.size,
            pdf_pages=pages,
            render_ms=render_ms,
            last_error="",
        )
        if not settled:
            log.warning("document_claim_lost", document=document.pk)
            return False
        queue_mail(document=document, content=content, now=now)
    if document.attempts > 1 or document.revision > 1:
        resolve_alert(name=AlertName.PDF_FAILED, subject=document.number, now=now)
        resolve_alert(name="invoice_mismatch", subject=document.number, now=now)
    return True


@retry_when_undone
def _settle_blocked(document: InvoiceDocument, untruths: list[str], *, now: datetime) -> None:
    """Take a document out of the queue whose PDF would tell the customer something else than Stripe does."""
    settled = InvoiceDocument.objects.filter(
        pk=document.pk, state=DocumentState.RENDERING, claim_token=document.claim_token
    ).update(state=DocumentState.BLOCKED, blocked_reason="\n".join(untruths))
    if not settled:
        log.warning("document_claim_lost", document=document.pk)
        return
    DOCUMENTS_RENDERED.labels(outcome="blocked").inc()
    document.refresh_from_db()
    _announce(document, now=now)


@retry_when_undone
def _record_failure(document: InvoiceDocument, error: Exception, *, now: datetime) -> None:
    gives_up = document.attempts >= MAX_ATTEMPTS
    settled = InvoiceDocument.objects.filter(
        pk=document.pk, state=DocumentState.RENDERING, claim_token=document.claim_token
    ).update(
        state=DocumentState.FAILED if gives_up else DocumentState.PENDING,
        next_attempt_at=now + timedelta(minutes=2**document.attempts),
        last_error=f"{type(error).__name__}: {error}"[:500],
    )
    if not settled:
        log.warning("document_claim_lost", document=document.pk)
        return
    DOCUMENTS_RENDERED.labels(outcome="failed" if gives_up else "retried").inc()
    log.warning("document_failed", document=document.pk, error=str(error), gives_up=gives_up)
    if gives_up:
        raise_alert(
            name=AlertName.PDF_FAILED,
            severity=Severity.CRITICAL,
            subject=document.number,
            detail=f"No PDF after {document.attempts} attempts: {error}",
            now=now,
            context={"document": document.pk},
        )


def release_stale_renders(*, now: datetime, older_than: timedelta = CLAIM_EXPIRES_AFTER) -> int:
    """Give documents whose worker is gone back to the queue: rendering again gives the same bytes.

    One that took five workers with it is given up with an alert, so that it cannot take every worker in turn.
    """
    stale = InvoiceDocument.objects.filter(state=DocumentState.RENDERING, claimed_at__lte=now - older_than)
    for document in stale.filter(attempts__gte=MAX_ATTEMPTS):
        _record_failure(document, WorkerLost("the worker died while rendering, each time"), now=now)
    return stale.filter(attempts__lt=MAX_ATTEMPTS).update(state=DocumentState.PENDING, next_attempt_at=None)
