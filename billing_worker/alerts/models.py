"""Operational events that a person should see, kept until someone or something resolves them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from billing_worker.alerts.states import AlertStatus, Severity


class Alert(models.Model):
    """One open problem with one subject. Raising it again while it is open counts up instead of adding a row."""

    name = models.CharField(max_length=64, help_text="Stable name, like webhook_event_failed.")
    subject = models.CharField(max_length=200, help_text="What it is about: an event, an account, a period.")
    severity = models.CharField(max_length=8, choices=Severity.choices)
    status = models.CharField(max_length=8, choices=AlertStatus.choices, default=AlertStatus.OPEN)
    detail = models.TextField(blank=True)
    context = models.JSONField(default=dict, blank=True)
    #: Unique while open and NULL afterwards: a uniqueness condition that every database can hold.
    open_key = models.CharField(max_length=64, unique=True, null=True, editable=False)  # noqa: DJ001
    raised_count = models.PositiveIntegerField(default=1)
    first_raised_at = models.DateTimeField()
    last_raised_at = models.DateTimeField()
    notified_at = models.DateTimeField(null=True, blank=True, help_text="When Slack took it.")
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering: ClassVar = ["-last_raised_at", "-pk"]
        indexes: ClassVar = [
            models.Index(fields=["status", "severity"], name="alert_status_severity"),
            models.Index(fields=["name", "subject"], name="alert_name_subject"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(status=AlertStatus.OPEN, resolved_at__isnull=True, open_key__isnull=False)
                | Q(status=AlertStatus.RESOLVED, resolved_at__isnull=False, open_key__isnull=True),
                name="alert_resolved_has_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.subject}"
