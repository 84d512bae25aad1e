"""The inbox: every event that Stripe told us, once, until it is dealt with."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from billing_worker.webhooks.states import InboxState


class InboxEvent(models.Model):
    """One Stripe event, the queue of record for the worker. Written before Stripe gets its 200."""

    event_id = models.CharField(max_length=64, unique=True)
    type = models.CharField(max_length=100)
    state = models.CharField(max_length=12, choices=InboxState.choices, default=InboxState.RECEIVED)
    source = models.CharField(max_length=10, default="webhook", help_text="webhook or backfill.")
    payload = models.TextField(help_text="The event as it came, JSON.")
    object_id = models.CharField(max_length=100, blank=True)
    customer = models.CharField(max_length=64, blank=True)
    api_version = models.CharField(max_length=40, blank=True)
    is_live = models.BooleanField(default=False)
    event_created_at = models.DateTimeField(
        help_text="Stripe's time; the test clock's if the object is on one."
    )
    received_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0, help_text="Claims since it came or was last replayed.")
    claim_token = models.CharField(max_length=32, blank=True, editable=False)
    claimed_at = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(null=True, blank=True, help_text="Not before; set while it waits.")
    mirrored_at = models.DateTimeField(
        null=True, blank=True, help_text="When dj-stripe's copy was up to date."
    )
    processed_at = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True)

    class Meta:
        ordering: ClassVar = ["-received_at", "-pk"]
        indexes: ClassVar = [
            models.Index(fields=["state", "next_attempt_at"], name="inbox_state_next_attempt"),
            models.Index(fields=["state", "event_created_at"], name="inbox_queue"),
            models.Index(fields=["type", "event_created_at"], name="inbox_type_created"),
            models.Index(fields=["object_id"], name="inbox_object"),
            models.Index(fields=["customer"], name="inbox_customer"),
            models.Index(fields=["received_at"], name="inbox_received"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=~Q(state=InboxState.PROCESSED) | Q(processed_at__isnull=False),
                name="inbox_processed_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(state=InboxState.PROCESSING) | Q(claimed_at__isnull=False),
                name="inbox_processing_is_claimed",
            ),
            models.CheckConstraint(
                condition=~Q(state=InboxState.RECEIVED) | Q(next_attempt_at__isnull=False),
                name="inbox_received_is_due",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"


class CustomerLock(models.Model):
    """One row for each customer whose events were processed: locked while one is, so that they take turns."""

    customer = models.CharField(max_length=64, unique=True)

    def __str__(self) -> str:
        return self.customer
