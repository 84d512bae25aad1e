"""What the mail service says about a mail after it took it: per address, in any order, any number of times."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import transaction

from billing_worker.alerts.metrics import MAILS
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import AlertName, Severity
from invoices.addresses import split_addresses
from invoices.models import InvoiceDocument, InvoiceMail
from invoices.services.mails import MailNotOpen, settle_mail
from invoices.services.timeline import record_event
from invoices.states import MAIL_TRANSITIONS, MailState

log = structlog.get_logger(__name__)

#: The mail service's words (as Anymail normalizes them) in ours. A temporary failure is `deferred`, not a bounce:
#: https://github.com/anymail/django-anymail/issues/130
STATES: Final[Mapping[str, MailState]] = {
    "delivered": MailState.DELIVERED,
    "deferred": MailState.DEFERRED,
    "bounced": MailState.BOUNCED,
    "rejected": MailState.FAILED,
    "failed": MailState.FAILED,
    "complained": MailState.COMPLAINED,
}
#: What an address ends in; a later `deferred` is an old event that arrived late.
FINAL: Final = (MailState.DELIVERED, MailState.BOUNCED, MailState.FAILED, MailState.COMPLAINED)
#: Worst first: the mail is in the worst state of any of its recipients.
_SEVERITY: Final = (MailState.COMPLAINED, MailState.BOUNCED, MailState.FAILED, MailState.DEFERRED)
SILENT_AFTER: Final = timedelta(hours=24)


def apply_tracking(
    *,
    event_type: str,
    message_id: str,
    recipient: str,
    at: datetime,
    detail: str,
    now: datetime,
) -> bool:
    """Note one tracking event on its mail. True if it was news.

    An event of a type that says nothing about delivery, of a mail that is not ours, or that was noted before, changes
    nothing. The mail's own state follows its recipients; the blind copy to the CRM does not count.
    """
    state = STATES.get(event_type)
    if state is None:
        return False
    with transaction.atomic():
        mail = InvoiceMail.objects.select_for_update().filter(message_id=message_id.strip("<>")).first()
        if mail is None:
            log.warning("tracking_of_unknown_mail", message_id=message_id)
            return False
        entry = record_event(
            invoice_id=_find_invoice_id(mail),
            name=f"mail_{state.value}",
            at=at,
            source=_make_source(mail, recipient, state, at),
            detail={"recipient": recipient, "detail": detail[:300]},
            now=now,
        )
        if entry is None or not _note_recipient(mail, recipient.lower(), state, at, detail):
            return False
        before = mail.state
        _follow_recipients(mail, now=now)
        mail.save(update_fields=["recipients", "state", "sent_at", "settled_at", "last_error"])
    MAILS.labels(outcome=state.value).inc()
    if mail.state != before and mail.state in (MailState.BOUNCED, MailState.FAILED, MailState.COMPLAINED):
        _alert(mail, recipient, detail, now=now)
    if mail.state != before and mail.state == MailState.DELIVERED and _was_in_trouble(mail, before):
        # It arrived after all, or it was sent again after a bounce and that arrived.
        resolve_alert(name=AlertName.MAIL_FAILED, subject=mail.document.number, now=now)
    return True


def _find_invoice_id(mail: InvoiceMail) -> int:
    """Alone: a document's row carries its whole content."""
    found: int = InvoiceDocument.objects.values_list("invoice_id", flat=True).get(pk=mail.document_id)
    return found


def _was_in_trouble(mail: InvoiceMail, before: str) -> bool:
    """Whether there can be an alert about it: there is none for a first mail that went straight out."""
    return before != MailState.SENT or mail.sequence > 0 or mail.attempts > 1


def _make_source(mail: InvoiceMail, recipient: str, state: MailState, at: datetime) -> str:
    """One name for one event, however often it is delivered: the service signs each delivery anew."""
    digest = sha256(f"{recipient.lower()} {state.value} {at.isoformat()}".encode()).hexdigest()
    return f"mail:{mail.pk}:{digest[:40]}"


def _note_recipient(mail: InvoiceMail, recipient: str, state: MailState, at: datetime, detail: str) -> bool:
    known: dict[str, Any] | None = mail.recipients.get(recipient)
    if known is not None:
        if datetime.fromisoformat(known["at"]) > at:
            return False
        if known["state"] in FINAL and state is MailState.DEFERRED:
            return False
    mail.recipients[recipient] = {"state": state.value, "at": at.isoformat(), "detail": detail[:300]}
    return True


def _follow_recipients(mail: InvoiceMail, *, now: datetime) -> None:
    addresses = {address.lower() for address in [*mail.to, *mail.cc]}
    said = {address: note for address, note in mail.recipients.items() if address in addresses}
    states = {note["state"] for note in said.values()}
    state = next((state for state in _SEVERITY if state in states), None)
    if state is None and len(said) == len(addresses):
        state = MailState.DELIVERED
    if state is None or state == mail.state or state not in MAIL_TRANSITIONS[MailState(mail.state)]:
        return
    mail.state = state
    mail.sent_at = mail.sent_at or mail.claimed_at or now
    mail.settled_at = now
    mail.last_error = "; ".join(
        f"{address}: {note['detail']}"
        for address, note in said.items()
        if note["state"] == state and note["detail"]
    )[:500]


def _alert(mail: InvoiceMail, recipient: str, detail: str, *, now: datetime) -> None:
    account = mail.document.account
    contacts = {*split_addresses(account.billing_email), *split_addresses(account.billing_cc)}
    others = ", ".join(sorted(contacts - {recipient})) or "none"
    raise_alert(
        name=AlertName.MAIL_FAILED,
        severity=Severity.CRITICAL,
        subject=mail.document.number,
        detail=f"The mail to {recipient} {mail.state}{f': {detail}' if detail else ''}."
        f" Other contacts of {account}: {others}",
        now=now,
        context={"mail": mail.pk},
    )


def settle_unknown_mails(*, now: datetime) -> int:
    """Do with mails in doubt what `UNKNOWN_MAIL_POLICY` says, once their time is over. The number settled.

    The mail service's word always comes first: a mail that it said anything about is left to that. `resend` acts only
    while its signed tracking is on, since only then does its silence mean something.
    """
    env = settings.ENV
    policy = env.UNKNOWN_MAIL_POLICY
    if policy == "ask" or (policy == "resend" and not is_tracking_on()):
        return 0
    before = now - timedelta(hours=env.UNKNOWN_MAIL_HOURS)
    doubtful = InvoiceMail.objects.filter(state=MailState.UNKNOWN, claimed_at__lte=before)
    settled = 0
    for mail in doubtful:
        if mail.recipients:
            continue
        try:
            settle_mail(
                mail_id=mail.pk,
                was_sent=policy == "assume_sent",
                reason=f"UNKNOWN_MAIL_POLICY={policy}: no word for {env.UNKNOWN_MAIL_HOURS} hours",
                actor="system",
                now=now,
            )
        except MailNotOpen:
            continue  # another worker, a person or the mail service settled it meanwhile
        settled += 1
    return settled


def is_tracking_on() -> bool:
    """Whether the mail service tells us what became of mails."""
    env = settings.ENV
    return bool(env.MAILGUN_API_KEY and env.MAILGUN_WEBHOOK_SIGNING_KEY)


def alert_silent_mails(*, now: datetime) -> int:
    """Alert for mails that the service took a day ago without another word. The number found."""
    if not is_tracking_on():
        return 0
    silent = InvoiceMail.objects.select_related("document").filter(
        state=MailState.SENT, sent_at__lte=now - SILENT_AFTER
    )
    for mail in silent:
        raise_alert(
            name="mail_silent",
            severity=Severity.WARNING,
            subject=mail.document.number,
            detail=f"The mail service took the mail to {', '.join(mail.to)} and said nothing for 24 hours",
            now=now,
            context={"mail": mail.pk},
        )
    return len(silent)
