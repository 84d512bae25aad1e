"""Mails: one for each document revision, claimed before it is sent, never sent again on a guess."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q

from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.models import Account
from billing_worker.alerts.kicks import kick
from billing_worker.alerts.metrics import MAILS
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import AlertName, Severity
from billing_worker.core.errors import Conflict, InvalidInput
from billing_worker.deadlocks import retry_when_undone
from invoices.addresses import check_addresses, check_reason, split_addresses
from invoices.content import InvoiceContent, load_content
from invoices.delivery import Outcome, SendResult, find_evidence, find_refused_addresses, send_message
from invoices.messages import build_message, build_texts
from invoices.models import InvoiceDocument, InvoiceMail
from invoices.states import MAIL_LEFT, DocumentState, MailState
from invoices.storage import StorageMismatch, StorageUnavailable, read_pdf

log = structlog.get_logger(__name__)

MAX_ATTEMPTS: Final = 8
#: Sending takes a minute at most: a claim this old belongs to a worker that is gone.
CLAIM_EXPIRES_AFTER: Final = timedelta(minutes=10)


class DocumentNotStored(Conflict):
    """There is no PDF to send yet. Wait for it, or look at why it failed."""

    code = "document_not_stored"


class MailedMeanwhile(Conflict):
    """Somebody sent it again after the page was opened. Look at the timeline; send it if it is still needed."""

    code = "mailed_meanwhile"


class DocumentSuperseded(Conflict):
    """There is a later revision with a PDF. Send that one, or say that the older one is meant."""

    code = "document_superseded"


class MailNotOpen(Conflict):
    """The mail is not in doubt: only one whose outcome is unknown, or that failed, can be settled by a person."""

    code = "mail_not_open"


def queue_mail(
    *, document: InvoiceDocument, content: InvoiceContent | None = None, now: datetime
) -> InvoiceMail | None:
    """Queue the mail that a stored document asks for: a person's, or the automatic one if it is due.

    Call it in the transaction that settles the PDF. `content` is the document's, if it is loaded already.
    """
    if not document.mail_to:
        return queue_first_mail(document=document, content=content, now=now)
    return _queue(
        document,
        content or load_content(document.content),
        sequence=1,
        to=split_addresses(document.mail_to),
        cc=[],
        reason=document.reason,
        requested_by=document.requested_by,
        now=now,
    )


def queue_first_mail(
    *, document: InvoiceDocument, content: InvoiceContent | None = None, now: datetime
) -> InvoiceMail | None:
    """Queue the automatic mail about an invoice, a credit note or a payment. Call it where the PDF is settled.

    None if it was mailed before or a person asked for this revision: then only a person sends it. None as well if it
    was voided before anything was mailed: the VOID revision carries the mail, and nobody is asked to pay. `content` is
    the document's, if it is loaded already.
    """
    if document.requested_by:
        return None
    of_subject = InvoiceDocument.objects.filter(
        invoice_id=document.invoice_id, kind=document.kind, subject=document.subject
    )
    was_mailed = Q(mails__isnull=False)
    is_later = Q(revision__gt=document.revision, requested_by="")
    if of_subject.filter(was_mailed | is_later).exists():
        return None
    account = Account.objects.only("billing_email", "billing_cc").get(pk=document.account_id)
    try:
        with transaction.atomic():
            return _queue(
                document,
                content or load_content(document.content),
                sequence=0,
                to=split_addresses(account.billing_email),
                cc=split_addresses(account.billing_cc),
                reason="",
                requested_by="",
                now=now,
            )
    except IntegrityError:
        # Two revisions were finished at the same moment: the other one's mail is the mail.
        log.info("mail_queued_elsewhere", document=document.pk)
        return None


def resend_document(
    *,
    document_id: int,
    to: Sequence[str],
    reason: str,
    actor: str,
    now: datetime,
    seen_sequence: int | None = None,
    older_is_meant: bool = False,
) -> InvoiceMail:
    """Send a stored document once more, at a person's request, to the addresses that they give.

    `seen_sequence` is the newest mail's that the person knew of, -1 for none: a second press of a button, or somebody
    else in another tab, sends nothing twice. None: not asked. `older_is_meant` sends a superseded revision.

    Raises:
        DocumentNotStored: there is no PDF.
        DocumentSuperseded: a later revision has one.
        MailedMeanwhile: there is a mail that the person did not know of.
        InvalidInput: no reason, no address, or one that can't be mailed to.
    """
    reason = check_reason(reason)
    if not to:
        raise InvalidInput("say to whom it is sent")
    check_addresses(to)
    with transaction.atomic():
        document = InvoiceDocument.objects.select_for_update().get(pk=document_id)
        if document.state != DocumentState.STORED:
            raise DocumentNotStored(f"{document.number} has no stored PDF ({document.state})")
        newest = document.mails.order_by("-sequence").first()
        if seen_sequence is not None and newest is not None and newest.sequence > seen_sequence:
            raise MailedMeanwhile(
                f"nothing was sent: {newest.requested_by or 'the worker'} sent it to {', '.join(newest.to)} at"
                f" {newest.queued_at:%H:%M:%S} UTC, after you opened the page"
            )
        if not older_is_meant:
            _require_newest(document)
        mail = _queue(
            document,
            load_content(document.content),
            sequence=(newest.sequence if newest else 0) + 1,
            to=list(to),
            cc=[],
            reason=reason,
            requested_by=actor,
            now=now,
        )
        record_audit(
            actor=actor,
            action="invoices.resent",
            subject_type="InvoiceDocument",
            subject_id=document.pk,
            at=now,
            reason=reason,
            after={"to": list(to), "mail": mail.pk},
        )
        if mail.state == MailState.QUEUED:
            kick("invoices.deliver_mail", mail.pk)
    return mail


def _require_newest(document: InvoiceDocument) -> None:
    later = InvoiceDocument.objects.filter(
        invoice_id=document.invoice_id,
        kind=document.kind,
        subject=document.subject,
        revision__gt=document.revision,
        state=DocumentState.STORED,
    )
    newest = later.order_by("-revision").values_list("revision", flat=True).first()
    if newest is not None:
        raise DocumentSuperseded(
            f"revision {document.revision} of {document.number} is superseded by revision {newest}: send that one,"
            " or say that you mean the older one"
        )


def waive_mail(*, document_id: int, reason: str, actor: str, now: datetime) -> InvoiceDocument:
    """A person decides that nobody is mailed about a revision that supersedes what the customer has.

    Raises:
        InvalidInput: no reason.
        MailedMeanwhile: it was mailed.
        DocumentNotStored: there is no PDF, so nothing to decide about.
    """
    reason = check_reason(reason)
    with transaction.atomic():
        document = InvoiceDocument.objects.select_for_update().get(pk=document_id)
        if document.state != DocumentState.STORED:
            raise DocumentNotStored(f"{document.number} has no stored PDF ({document.state})")
        if document.mails.exists():
            raise MailedMeanwhile(f"revision {document.revision} of {document.number} was mailed meanwhile")
        document.no_mail_reason = reason
        document.save(update_fields=["no_mail_reason"])
        record_audit(
            actor=actor,
            action="invoices.mail_waived",
            subject_type="InvoiceDocument",
            subject_id=document.pk,
            at=now,
            reason=reason,
        )
    return document


def _queue(
    document: InvoiceDocument,
    content: InvoiceContent,
    *,
    sequence: int,
    to: list[str],
    cc: list[str],
    reason: str,
    requested_by: str,
    now: datetime,
) -> InvoiceMail:
    env = settings.ENV
    domain = env.BILLING_FROM_ADDRESS.rpartition("@")[2]
    mail = InvoiceMail(
        document=document,
        sequence=sequence,
        message_id=f"{document.uuid}.{sequence}@{domain}",
        first_of=None if requested_by else f"{document.invoice_id}/{document.kind}/{document.subject}",
        to=to,
        cc=cc,
        bcc=[env.BILLING_BCC_ADDRESS] if env.BILLING_BCC_ADDRESS else [],
        subject=build_texts(content).subject,
        reason=reason,
        requested_by=requested_by,
        state=MailState.QUEUED,
        queued_at=now,
    )
    refused = find_refused_addresses([*mail.to, *mail.cc, *mail.bcc])
    if refused:
        mail.state = MailState.REFUSED
        mail.last_error = f"the allow-list (MAIL_ALLOWLIST) refuses {', '.join(refused)}"[:500]
    elif not to:
        mail.state = MailState.FAILED
        mail.last_error = "the account has no billing address"
    mail.save(force_insert=True)
    MAILS.labels(outcome=mail.state).inc()
    if mail.state != MailState.QUEUED:
        _alert(mail, mail.last_error, now=now)
    return mail


def deliver_mail(*, mail_id: int, now: datetime) -> bool:
    """Send a queued mail. Call it outside a transaction. True if this call sent it.

    The claim is committed before the service is called. An answer that leaves the outcome open makes the mail
    `unknown`, with an alert: it is not sent again until the service, or a person, says that it did not go out.
    """
    token = str(uuid.uuid4())
    if not _claim_mail(mail_id, token, now):
        return False
    mail = InvoiceMail.objects.select_related("document").get(pk=mail_id)
    if mail.claim_token != token:
        # Paused for so long between these two lines that others took this worker for dead: it is theirs.
        log.warning("mail_claim_lost", mail=mail_id)
        return False
    document = mail.document
    try:
        pdf = read_pdf(name=document.storage_name, sha256=document.pdf_sha256)
    except (StorageMismatch, StorageUnavailable) as error:
        result = SendResult(Outcome.NOT_SENT, str(error))
    else:
        result = send_message(build_message(mail, load_content(document.content), pdf))
    return _settle(mail, result, now=now)


@retry_when_undone
def _claim_mail(mail_id: int, token: str, now: datetime) -> bool:
    due = Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=now)
    waiting = InvoiceMail.objects.filter(due, pk=mail_id, state=MailState.QUEUED)
    return bool(
        waiting.update(state=MailState.SENDING, claim_token=token, claimed_at=now, attempts=F("attempts") + 1)
    )


@retry_when_undone
def _settle(mail: InvoiceMail, result: SendResult, *, now: datetime) -> bool:
    mine = InvoiceMail.objects.filter(pk=mail.pk, state=MailState.SENDING, claim_token=mail.claim_token)
    if result.outcome is Outcome.SENT:
        # A worker that was slow and taken for dead knows what nobody else does: its answer ends the doubt.
        doubted = InvoiceMail.objects.filter(
            pk=mail.pk, state=MailState.UNKNOWN, claim_token=mail.claim_token
        )
        changes = {"state": MailState.SENT, "sent_at": now, "last_error": ""}
        changes["service_message_id"] = result.service_message_id
        is_mine = mine.update(**changes)
        was_doubted = not is_mine and bool(doubted.update(**changes))
        MAILS.labels(outcome="sent").inc()
        if not is_mine and not was_doubted:
            log.error("mail_sent_after_claim_was_lost", mail=mail.pk)
        if mail.attempts > 1 or was_doubted:
            resolve_alert(name=AlertName.MAIL_FAILED, subject=mail.document.number, now=now)
        return True
    if result.outcome is Outcome.NOT_SENT and mail.attempts < MAX_ATTEMPTS:
        mine.update(
            state=MailState.QUEUED,
            next_attempt_at=now + timedelta(minutes=2 ** min(mail.attempts, 6)),
            last_error=result.error[:500],
        )
        MAILS.labels(outcome="retried").inc()
        log.warning("mail_not_sent", mail=mail.pk, error=result.error)
        return False
    state = MailState.UNKNOWN if result.outcome is Outcome.UNKNOWN else MailState.FAILED
    mine.update(state=state, last_error=result.error[:500])
    MAILS.labels(outcome=state.value).inc()
    _alert(mail, result.error, now=now)
    return False


def _alert(mail: InvoiceMail, detail: str, *, now: datetime) -> None:
    raise_alert(
        name=AlertName.MAIL_FAILED,
        severity=Severity.CRITICAL,
        subject=mail.document.number,
        detail=f"The mail to {', '.join(mail.to) or 'nobody'} did not go out for certain: {detail}",
        now=now,
        context={"mail": mail.pk},
    )


def resolve_stale_mails(*, now: datetime, older_than: timedelta = CLAIM_EXPIRES_AFTER) -> int:
    """Settle mails whose worker is gone, by what the mail backend can prove.

    Files: written means sent, not written means that it is queued again. A mail service can't be asked: `unknown`,
    and an alert; its tracking events or a person settle it.
    """
    stale = list(
        InvoiceMail.objects.select_related("document").filter(
            state=MailState.SENDING, claimed_at__lte=now - older_than
        )
    )
    for mail in stale:
        evidence = find_evidence(mail.message_id)
        if evidence is None:
            _settle(mail, SendResult(Outcome.UNKNOWN, "the worker died while sending"), now=now)
        elif evidence:
            _settle(mail, SendResult(Outcome.SENT), now=now)
        else:
            InvoiceMail.objects.filter(
                pk=mail.pk, state=MailState.SENDING, claim_token=mail.claim_token
            ).update(state=MailState.QUEUED, next_attempt_at=None)
    return len(stale)


def settle_mail(*, mail_id: int, was_sent: bool, reason: str, actor: str, now: datetime) -> InvoiceMail:
    """A person says how an open mail ended: it went out, or it did not and is queued again.

    Raises:
        MailNotOpen: its outcome is not in doubt.
        InvalidInput: no reason.
    """
    reason = check_reason(reason)
    with transaction.atomic():
        mail = InvoiceMail.objects.select_for_update().get(pk=mail_id)
        before = mail.state
        if before not in (MailState.UNKNOWN, MailState.FAILED) or (before == MailState.FAILED and was_sent):
            raise MailNotOpen(f"mail {mail.pk} is {before}: there is nothing to settle")
        if was_sent:
            mail.state, mail.sent_at = MailState.SENT, mail.claimed_at or now
        else:
            mail.state, mail.attempts, mail.next_attempt_at = MailState.QUEUED, 0, None
            mail.to = mail.to or split_addresses(mail.document.account.billing_email)
            kick("invoices.deliver_mail", mail.pk)
        mail.save(update_fields=["state", "sent_at", "attempts", "next_attempt_at", "to"])
        record_audit(
            actor=actor,
            action="invoices.mail_settled",
            subject_type="InvoiceMail",
            subject_id=mail.pk,
            at=now,
            reason=reason,
            before={"state": before},
            after={"state": mail.state},
        )
    resolve_alert(name=AlertName.MAIL_FAILED, subject=mail.document.number, now=now)
    return mail


def list_other_contacts(mail: InvoiceMail) -> list[str]:
    """Billing contacts of the account, and of its parent, that this mail did not reach and was not refused by.

    For a mail that bounced: whom else to send the document to. Addresses that bounced in any mail of it are left out.
    """
    account = mail.document.account
    known = [account, account.parent] if account.parent else [account]
    texts = [text for owner in known for text in (owner.billing_email, owner.billing_cc)]
    contacts = [address for text in texts for address in split_addresses(text)]
    bad = {
        address
        for other in mail.document.mails.all()
        for address, said in other.recipients.items()
        if said["state"] in (MailState.BOUNCED, MailState.FAILED, MailState.COMPLAINED)
    }
    return [address for address in dict.fromkeys(contacts) if address.lower() not in bad]


def has_left(mail: InvoiceMail) -> bool:
    return mail.state in MAIL_LEFT
