"""A request about many documents, and what became of each. The rows are the queue of record."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q


class BatchAction(models.TextChoices):
    RESEND = "resend", "Send again"
    REVISE = "revise", "Make new revisions"


class ItemState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    DONE = "done", "Done"
    REFUSED = "refused", "Refused"


class DocumentBatch(models.Model):
    """Who asked for what, and why. It is over when none of its items waits."""

    action = models.CharField(max_length=8, choices=BatchAction.choices)
    reason = models.CharField(max_length=200)
    requested_by = models.CharField(max_length=150)
    requested_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-requested_at", "-pk"]
        verbose_name = "batch"
        verbose_name_plural = "batches"

    def __str__(self) -> str:
        return f"{self.get_action_display()} ({self.pk})"


class BatchItem(models.Model):
    """One document of a batch: done once, in the transaction that does it, or refused with the reason."""

    batch = models.ForeignKey(DocumentBatch, on_delete=models.CASCADE, related_name="items", db_index=False)
    document = models.ForeignKey("invoices.InvoiceDocument", on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=8, choices=ItemState.choices, default=ItemState.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    detail = models.CharField(max_length=500, blank=True, help_text="Why it was refused.")
    settled_at = models.DateTimeField(null=True, blank=True)
    mail = models.ForeignKey(
        "invoices.InvoiceMail", on_delete=models.PROTECT, related_name="+", null=True, blank=True
    )
    made = models.ForeignKey(
        "invoices.InvoiceDocument", on_delete=models.PROTECT, related_name="+", null=True, blank=True
    )

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["batch", "document"], name="batch_has_document_once"),
            models.CheckConstraint(
                condition=Q(state="waiting", settled_at__isnull=True)
                | ~Q(state="waiting") & Q(settled_at__isnull=False),
                name="batch_item_settled_has_time",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["state", "attempts"], name="batch_item_queue")]

    def __str__(self) -> str:
        return f"{self.batch_id}: {self.document_id}"
