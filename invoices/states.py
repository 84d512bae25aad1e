"""Where a document, a mail and a managed charge can be, and how they get from one state to the next."""

from __future__ import annotations

from typing import Final

from django.db.models import TextChoices


class DocumentKind(TextChoices):
    INVOICE = "invoice", "Invoice"
    CREDIT_NOTE = "credit_note", "Credit note"
    RECEIPT = "receipt", "Receipt"


class DocumentState(TextChoices):
    PENDING = "pending", "Waiting to be rendered"
    RENDERING = "rendering", "Being rendered"
    STORED = "stored", "PDF stored"
    BLOCKED = "blocked", "Blocked"
    FAILED = "failed", "Gave up"


#: A document that a worker died over goes back to pending: rendering again gives the same bytes. One is blocked before
#: it is rendered if its sums do not come out, and after it if the PDF does not say what Stripe says.
DOCUMENT_TRANSITIONS: Final = {
    DocumentState.PENDING: {DocumentState.RENDERING, DocumentState.BLOCKED},
    DocumentState.RENDERING: {
        *(DocumentState.STORED, DocumentState.PENDING, DocumentState.FAILED, DocumentState.BLOCKED),
    },
    DocumentState.FAILED: {DocumentState.PENDING},
    DocumentState.BLOCKED: {DocumentState.PENDING},
    DocumentState.STORED: set(),
}


class MailState(TextChoices):
    QUEUED = "queued", "Queued"
    SENDING = "sending", "Being sent"
    UNKNOWN = "unknown", "Outcome unknown"
    SENT = "sent", "Sent"
    DELIVERED = "delivered", "Delivered"
    DEFERRED = "deferred", "Deferred"
    BOUNCED = "bounced", "Bounced"
    COMPLAINED = "complained", "Complained"
    FAILED = "failed", "Failed"
    REFUSED = "refused", "Refused by the allow-list"


#: `sending` is never left by sending again, only by evidence: the backend's word, a tracking event, or a person.
MAIL_TRANSITIONS: Final = {
    MailState.QUEUED: {MailState.SENDING},
    MailState.SENDING: {
        *(MailState.SENT, MailState.QUEUED, MailState.UNKNOWN, MailState.FAILED),
        *(MailState.DELIVERED, MailState.DEFERRED, MailState.BOUNCED),
    },
    MailState.UNKNOWN: {
        *(MailState.SENT, MailState.QUEUED, MailState.FAILED),
        *(MailState.DELIVERED, MailState.DEFERRED, MailState.BOUNCED),
    },
    MailState.SENT: {
        *(MailState.DELIVERED, MailState.DEFERRED, MailState.BOUNCED, MailState.COMPLAINED, MailState.FAILED),
    },
    MailState.DEFERRED: {MailState.DELIVERED, MailState.BOUNCED, MailState.COMPLAINED, MailState.FAILED},
    MailState.DELIVERED: {MailState.COMPLAINED},
    MailState.FAILED: {MailState.QUEUED},
    MailState.BOUNCED: set(),
    MailState.COMPLAINED: set(),
    MailState.REFUSED: set(),
}

#: The mail has left us: it must not be sent again without a person's word.
MAIL_LEFT: Final = (
    MailState.SENT,
    MailState.DELIVERED,
    MailState.DEFERRED,
    MailState.BOUNCED,
    MailState.COMPLAINED,
)

#: As far as anybody knows the mail arrived, or will. A bounce is not among these: only a later mail makes up for it.
MAIL_ARRIVED: Final = (MailState.SENT, MailState.DELIVERED, MailState.DEFERRED, MailState.COMPLAINED)


class ChargeState(TextChoices):
    PENDING = "pending", "To be billed"
    SENDING = "sending", "Being sent to Stripe"
    BILLED = "billed", "At Stripe"
    REJECTED = "rejected", "Refused by Stripe"
    UNKNOWN = "unknown", "Outcome unknown"
    GIVEN_UP = "given_up", "Given up"


#: `sending` may be repeated with the same idempotency key while Stripe remembers it (24 h), then it is `unknown` until
#: Stripe's list of the customer's invoice items was read. People decide about what Stripe refused.
CHARGE_TRANSITIONS: Final = {
    ChargeState.PENDING: {ChargeState.SENDING},
    ChargeState.SENDING: {ChargeState.BILLED, ChargeState.PENDING, ChargeState.REJECTED, ChargeState.UNKNOWN},
    ChargeState.UNKNOWN: {ChargeState.BILLED, ChargeState.PENDING},
    ChargeState.REJECTED: {ChargeState.PENDING, ChargeState.GIVEN_UP},
    ChargeState.BILLED: set(),
    ChargeState.GIVEN_UP: {ChargeState.PENDING},
}
