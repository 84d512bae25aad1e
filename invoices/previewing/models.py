"""Comparisons of one document printed with two versions of the template. They may be deleted at any time."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q


class ComparisonState(models.TextChoices):
    PENDING = "pending", "Waiting"
    DONE = "done", "Compared"
    FAILED = "failed", "Gave up"


class TemplateComparison(models.Model):
    """A document's content printed with two versions. The row is the queue: a worker fills in what is pending."""

    document = models.ForeignKey(
        "invoices.InvoiceDocument", on_delete=models.CASCADE, related_name="comparisons", db_index=False
    )
    base_version = models.CharField(max_length=16, help_text="The version on the left, as a rule in force.")
    other_version = models.CharField(max_length=16, help_text="The version on the right.")
    fingerprint = models.CharField(
        max_length=64, help_text="SHA-256 of both versions' files and the document's content."
    )
    why = models.CharField(max_length=40, help_text="What the document was picked for.")
    position = models.PositiveIntegerField(help_text="Place among the documents picked with it, from 0.")
    state = models.CharField(max_length=8, choices=ComparisonState.choices)
    attempts = models.PositiveIntegerField(default=0)
    requested_at = models.DateTimeField()
    requested_by = models.CharField(max_length=150)
    done_at = models.DateTimeField(null=True, blank=True)
    result = models.JSONField(default=dict, help_text="Both sides, the pages and the texts that differ.")

    class Meta:
        ordering: ClassVar = ["-requested_at", "pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["document", "base_version", "other_version"], name="comparison_once_per_versions"
            ),
            models.CheckConstraint(
                condition=Q(state="pending", done_at__isnull=True) | ~Q(state="pending") & Q(done_at__isnull=False),
                name="comparison_done_has_time",
            ),
        ]  # fmt: skip
        indexes: ClassVar = [models.Index(fields=["state", "requested_at"], name="comparison_queue")]
        verbose_name = "template preview"

    def __str__(self) -> str:
        return f"{self.document}: {self.base_version} and {self.other_version}"


class ComparisonPicture(models.Model):
    """A page of one side as PNG. On the right side, what differs is tinted."""

    comparison = models.ForeignKey(
        TemplateComparison, on_delete=models.CASCADE, related_name="pictures", db_index=False
    )
    side = models.CharField(max_length=5, help_text="base or other.")
    page = models.PositiveIntegerField(help_text="From 0.")
    png = models.BinaryField()

    class Meta:
        ordering: ClassVar = ["page", "side"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["comparison", "side", "page"], name="comparison_picture_once"),
        ]

    def __str__(self) -> str:
        return f"{self.comparison_id} {self.side} {self.page + 1}"
