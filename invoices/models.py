"""Documents, their mails, the timeline of an invoice, and managed-service charges. Services are the only writers."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q

from billing_worker.accounts.models import Account, ManagedJob
from billing_worker.mirror.models import StripeInvoice
from invoices.batches.models import BatchItem as BatchItem
from invoices.batches.models import DocumentBatch as DocumentBatch
from invoices.previewing.models import ComparisonPicture as ComparisonPicture
from invoices.previewing.models import TemplateComparison as TemplateComparison
from invoices.states import ChargeState, DocumentKind, DocumentState, MailState


class InvoiceDocument(models.Model):
    """One revision of what we print for a finalized invoice. `content` is frozen; the PDF is made from it alone."""

    uuid = models.UUIDField(
        unique=True, default=uuid.uuid4, editable=False, help_text="Names the stored file."
    )
    invoice = models.ForeignKey(
        StripeInvoice, on_delete=models.PROTECT, related_name="documents", db_index=False
    )
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="invoice_documents")
    kind = models.CharField(max_length=12, choices=DocumentKind.choices, default=DocumentKind.INVOICE)
    subject = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text="What it is about, as Stripe names it: a credit note, a payment. Empty: the invoice itself.",
    )
    revision = models.PositiveIntegerField(help_text="1 is the first; counted per subject.")
    reason = models.CharField(
        max_length=200, help_text="Why this revision was made: an event or a person's words."
    )
    requested_by = models.CharField(max_length=150, blank=True, help_text="Empty: the invoice's own events.")
    mail_to = models.CharField(
        max_length=1000,
        blank=True,
        default="",
        db_default="",
        help_text="Addresses that a person wants it mailed to once it is stored.",
    )
    no_mail_reason = models.CharField(
        max_length=200,
        blank=True,
        default="",
        db_default="",
        help_text="Why a person decided that nobody is mailed about this revision.",
    )
    number = models.CharField(max_length=64, blank=True)
    period = models.CharField(
        max_length=7, help_text="Month that the invoice's period starts in, like 2026-10."
    )
    currency = models.CharField(max_length=3)
    total_minor = models.BigIntegerField()
    locale = models.CharField(max_length=8)
    content = models.JSONField()
    content_hash = models.CharField(max_length=64, help_text="SHA-256 of the canonical content.")
    template_version = models.CharField(max_length=16)
    state = models.CharField(max_length=10, choices=DocumentState.choices)
    blocked_reason = models.TextField(
        blank=True, help_text="The arithmetic that does not come out, or what the PDF does not say."
    )
    attempts = models.PositiveIntegerField(default=0)
    claim_token = models.CharField(max_length=36, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(
        null=True, blank=True, help_text="Not before this; empty = at once."
    )
    last_error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField()
    stored_at = models.DateTimeField(null=True, blank=True)
    storage_name = models.CharField(max_length=120, blank=True)
    pdf_sha256 = models.CharField(max_length=64, blank=True)
    pdf_bytes = models.PositiveIntegerField(null=True, blank=True)
    pdf_pages = models.PositiveIntegerField(null=True, blank=True)
    render_ms = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at", "-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["invoice", "kind", "subject", "content_hash", "template_version"],
                name="document_once_per_subject_content_and_template",
            ),
            models.UniqueConstraint(
                fields=["invoice", "kind", "subject", "revision"], name="document_subject_revision_once"
            ),
            models.CheckConstraint(
                condition=Q(kind=DocumentKind.INVOICE, subject="")
                | ~Q(kind=DocumentKind.INVOICE) & ~Q(subject=""),
                name="document_subject_unless_invoice",
            ),
            models.CheckConstraint(
                condition=Q(state=DocumentState.STORED, stored_at__isnull=False)
                & ~Q(pdf_sha256="") & ~Q(storage_name="")
                | ~Q(state=DocumentState.STORED) & Q(stored_at__isnull=True),
                name="document_stored_has_file",
            ),
            models.CheckConstraint(
                condition=~Q(state=DocumentState.BLOCKED) | ~Q(blocked_reason=""),
                name="document_blocked_has_reason",
            ),
        ]  # fmt: skip
        indexes: ClassVar = [
            models.Index(fields=["state", "next_attempt_at"], name="document_state_due"),
            models.Index(fields=["created_at"], name="document_created"),
            models.Index(fields=["number"], name="document_number"),
            models.Index(fields=["revision", "state"], name="document_revision_state"),
            models.Index(fields=["period", "account"], name="document_period_account"),
        ]
        permissions: ClassVar = [
            ("rerender_invoicedocument", "Can make a new revision of a document"),
        ]

    def __str__(self) -> str:
        return f"{self.number or self.invoice_id} r{self.revision}"


class InvoiceMail(models.Model):
    """One message with one document. Claimed before it is sent, so that a crash never sends it twice."""

    document = models.ForeignKey(
        InvoiceDocument, on_delete=models.PROTECT, related_name="mails", db_index=False
    )
    sequence = models.PositiveIntegerField(help_text="0 is the automatic one; a person's resends count up.")
    message_id = models.CharField(max_length=120, unique=True, help_text="Our Message-ID, without brackets.")
    to = models.JSONField(default=list, help_text="Addresses.")
    cc = models.JSONField(default=list, help_text="Addresses.")
    bcc = models.JSONField(default=list, help_text="Addresses.")
    recipients = models.JSONField(
        default=dict, help_text="What the mail service said of each address: {address: {state, at, detail}}."
    )
    subject = models.CharField(max_length=300)
    reason = models.CharField(max_length=200, blank=True, help_text="Why it was sent again.")
    requested_by = models.CharField(max_length=150, blank=True)
    state = models.CharField(max_length=10, choices=MailState.choices)
    attempts = models.PositiveIntegerField(default=0)
    claim_token = models.CharField(max_length=36, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(
        null=True, blank=True, help_text="Not before this; empty = at once."
    )
    last_error = models.CharField(max_length=500, blank=True)
    queued_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    settled_at = models.DateTimeField(
        null=True, blank=True, help_text="When the mail service said how it ended."
    )
    service_message_id = models.CharField(max_length=200, blank=True, help_text="The mail service's own id.")
    first_of = models.CharField(
        max_length=120,
        unique=True,
        null=True,
        blank=True,
        editable=False,
        help_text="Of an automatic mail, what it tells of: nothing is told twice. Empty: a person's.",
    )

    class Meta:
        ordering: ClassVar = ["-queued_at", "-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["document", "sequence"], name="mail_once_per_revision"),
            models.CheckConstraint(
                condition=~Q(state__in=["sent", "delivered", "deferred", "complained"])
                | Q(sent_at__isnull=False),
                name="mail_sent_has_time",
            ),
            models.CheckConstraint(
                condition=Q(sequence=0) | ~Q(requested_by=""), name="mail_resend_has_author"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["state", "next_attempt_at"], name="mail_state_due")]
        permissions: ClassVar = [("resend_invoicemail", "Can send a document again and settle open mails")]

    def __str__(self) -> str:
        return f"{self.subject} to {', '.join(self.to)}"


class InvoiceEvent(models.Model):
    """Something that happened to an invoice, for its timeline: paid, a failed payment, voided. Written once."""

    invoice = models.ForeignKey(StripeInvoice, on_delete=models.CASCADE, related_name="timeline")
    name = models.CharField(max_length=40, help_text="Stripe's event type without `invoice.`, or ours.")
    at = models.DateTimeField(help_text="When it happened, in Stripe's time.")
    recorded_at = models.DateTimeField()
    source = models.CharField(max_length=100, unique=True, help_text="Stripe's event id, or our own key.")
    detail = models.JSONField(default=dict)

    class Meta:
        ordering: ClassVar = ["at", "pk"]

    def __str__(self) -> str:
        return f"{self.invoice_id}: {self.name}"


class PaymentReading(models.Model):
    """An invoice whose payment attempts are to be read from Stripe: due while `read_at` is before `wanted_at`."""

    invoice = models.OneToOneField(StripeInvoice, on_delete=models.CASCADE, related_name="payment_reading")
    wanted_at = models.DateTimeField(help_text="When an event last said that there is something new.")
    read_at = models.DateTimeField(null=True, blank=True)
    wants_receipts = models.BooleanField(
        default=False,
        db_default=False,
        help_text="It was paid while receipts were on: each payment gets one.",
    )

    def __str__(self) -> str:
        return f"{self.invoice_id}"


class InvoicePayment(models.Model):
    """Money that Stripe collected for an invoice, with the method of the charge that succeeded."""

    invoice = models.ForeignKey(StripeInvoice, on_delete=models.CASCADE, related_name="payments")
    stripe_payment_id = models.CharField(max_length=64, unique=True)
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    paid_at = models.DateTimeField(help_text="In Stripe's time.")
    method = models.CharField(max_length=32, blank=True)
    brand = models.CharField(max_length=32, blank=True)
    last4 = models.CharField(max_length=8, blank=True)

    class Meta:
        ordering: ClassVar = ["paid_at", "stripe_payment_id"]

    def __str__(self) -> str:
        return self.stripe_payment_id

    def describe_method(self) -> str:
        """`Visa ending 4242`, or the kind of method as far as it is known."""
        return describe_method(self.brand, self.method, self.last4)


class PaymentAttempt(models.Model):
    """One charge that was tried for an invoice, as Stripe told it."""

    invoice = models.ForeignKey(StripeInvoice, on_delete=models.CASCADE, related_name="payment_attempts")
    stripe_charge_id = models.CharField(max_length=64, unique=True)
    status = models.CharField(max_length=16, help_text="succeeded, pending or failed.")
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    tried_at = models.DateTimeField(help_text="In Stripe's time.")
    failure_code = models.CharField(max_length=64, blank=True)
    decline_reason = models.CharField(max_length=64, blank=True, help_text="Like insufficient_funds.")
    failure_message = models.CharField(max_length=500, blank=True)
    method = models.CharField(max_length=32, blank=True)
    brand = models.CharField(max_length=32, blank=True)
    last4 = models.CharField(max_length=8, blank=True)

    class Meta:
        ordering: ClassVar = ["tried_at", "pk"]

    def __str__(self) -> str:
        return f"{self.describe_method()}: {self.status}"

    def describe_method(self) -> str:
        """`Visa ending 4242`, or the kind of method as far as it is known."""
        return describe_method(self.brand, self.method, self.last4)


def describe_method(brand: str, method: str, last4: str) -> str:
    """A means of payment for people here; documents name it in their own language."""
    name = (brand or method or "payment").replace("_", " ").capitalize()
    return f"{name} ending {last4}" if last4 else name


class ManagedCharge(models.Model):
    """A managed-service job on its way to Stripe as an invoice item with its exact amount, once."""

    job = models.OneToOneField(ManagedJob, on_delete=models.PROTECT, related_name="charge")
    payer = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    customer = models.CharField(max_length=64, help_text="The payer's Stripe customer.")
    period = models.CharField(max_length=7, help_text="Month in which the job was completed.")
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    description = models.CharField(max_length=255)
    completed_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=ChargeState.choices)
    attempts = models.PositiveIntegerField(default=0)
    claim_token = models.CharField(max_length=36, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    first_sent_at = models.DateTimeField(
        null=True, blank=True, help_text="When Stripe was first asked in a way that it may have taken."
    )
    draft = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text="Stripe's draft of its month that it is put on. Empty: the customer's next invoice.",
    )
    tries = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="How often Stripe refused it and a person had it tried again."
    )
    stripe_invoice_item_id = models.CharField(max_length=64, unique=True, null=True, blank=True)
    billed_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering: ClassVar = ["-completed_at", "-pk"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(state=ChargeState.BILLED, stripe_invoice_item_id__isnull=False, billed_at__isnull=False)
                | ~Q(state=ChargeState.BILLED) & Q(billed_at__isnull=True),
                name="managed_charge_billed_has_item",
            ),
        ]  # fmt: skip
        indexes: ClassVar = [models.Index(fields=["period", "state"], name="managed_charge_period_state")]
        permissions: ClassVar = [
            ("settle_managedcharge", "Can decide about managed charges that Stripe refused")
        ]

    def __str__(self) -> str:
        return f"{self.description} ({self.job_id})"

    @property
    def idempotency_key(self) -> str:
        """From the job: whoever sends it, and however often, Stripe makes one item of it.

        Another target or another try after a refusal is another request, and Stripe remembers refusals by key too.
        """
        suffixes = [f"-r{self.tries}"] if self.tries else []
        if self.draft:
            suffixes.append(f"-{self.draft}")
        return f"managed-job-{self.job_id}{''.join(suffixes)}"
