"""Runs of the roll-up."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q


class RollUpRun(models.Model):
    """One run. Neither finished nor failed: it is under way, or its process died (and lost nothing)."""

    trigger = models.CharField(
        max_length=150, help_text="Who started it: schedule, a command or a service key."
    )
    period = models.CharField(
        max_length=7, blank=True, help_text="Only this month, like 2026-10; empty = all."
    )
    started_at = models.DateTimeField(db_index=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True, help_text="What broke it off.")
    months = models.PositiveIntegerField(default=0, help_text="Accounts' months looked at.")
    records = models.PositiveIntegerField(default=0, help_text="Statements rolled up.")
    samples = models.PositiveBigIntegerField(
        default=0, db_default=0, help_text="Samples added to their buckets."
    )
    events = models.PositiveIntegerField(default=0, help_text="Meter events made.")
    skipped = models.PositiveIntegerField(default=0, help_text="Events of it that are never billed.")
    without_customer = models.PositiveIntegerField(
        default=0, help_text="Events that wait for a Stripe customer."
    )

    class Meta:
        ordering: ClassVar = ["-started_at", "-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(error="") | Q(finished_at__isnull=False), name="roll_up_run_failed_has_time"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M} by {self.trigger}: {self.events} events"
