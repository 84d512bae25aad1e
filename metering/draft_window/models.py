"""Holds on draft invoices, and what senders declared complete."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from billing_worker.accounts.models import Account
from metering.draft_window.states import HoldState, ReleaseCause


class UsageCompletion(models.Model):
    """A sender's word that it has pushed all usage of a month, for one account or for all of them."""

    period = models.CharField(max_length=7, help_text="Calendar month in UTC, like 2026-10.")
    scope = models.CharField(
        max_length=20, help_text="`all`, or the account's id. Not a reference, so that one key covers both."
    )
    account = models.ForeignKey(
        Account, on_delete=models.PROTECT, null=True, blank=True, related_name="usage_completions",
        help_text="Empty: every account.",
    )  # fmt: skip
    declared_by = models.CharField(max_length=150, help_text="Service key or user.")
    declared_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-period", "scope"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["period", "scope"], name="usage_completion_once"),
            models.CheckConstraint(
                condition=Q(scope="all", account__isnull=True) | (~Q(scope="all") & Q(account__isnull=False)),
                name="usage_completion_scope_names_account",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.period} complete for {self.scope}"


class DraftHold(models.Model):
    """What became of one draft invoice between its creation and its finalization. One row for each draft."""

    stripe_invoice_id = models.CharField(max_length=64, unique=True)
    account = models.ForeignKey(
        Account, on_delete=models.PROTECT, related_name="draft_holds", help_text="The payer."
    )
    period = models.CharField(max_length=7, help_text="Month whose usage the draft bills, like 2026-10.")
    drafted_at = models.DateTimeField(help_text="When Stripe made the draft; the deadline counts from here.")
    state = models.CharField(max_length=10, choices=HoldState.choices)
    reasons = models.JSONField(
        default=list, blank=True, help_text="Why usage is not complete, as last looked at."
    )
    looked_at = models.DateTimeField(help_text="When the reasons were last gathered.")
    note = models.CharField(max_length=500, blank=True, help_text="What happened beyond the state.")
    hold_attempts = models.PositiveIntegerField(default=0)
    release_attempts = models.PositiveIntegerField(default=0)
    claim_token = models.CharField(max_length=36, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    called_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="A call that holds or releases was made and its answer is not in yet.",
    )
    next_attempt_at = models.DateTimeField(
        null=True, blank=True, help_text="Not before this; empty = at once."
    )
    held_at = models.DateTimeField(null=True, blank=True)
    released_at = models.DateTimeField(null=True, blank=True)
    release_cause = models.CharField(max_length=10, choices=ReleaseCause.choices, blank=True)
    requested_by = models.CharField(max_length=150, blank=True, help_text="Who asked to release it now.")
    request_reason = models.CharField(max_length=500, blank=True)
    finalized_at = models.DateTimeField(null=True, blank=True, help_text="Stripe's time.")
    created_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-drafted_at", "-pk"]
        permissions: ClassVar = [("release_drafthold", "Can release held drafts before usage is complete")]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(state__in=HoldState.values), name="draft_hold_state_known"),
            models.CheckConstraint(
                condition=~Q(state__in=[HoldState.HOLDING, HoldState.RELEASING])
                | (Q(claimed_at__isnull=False) & ~Q(claim_token="")),
                name="draft_hold_call_is_claimed",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[HoldState.HELD, HoldState.RELEASING, HoldState.RELEASED])
                | Q(held_at__isnull=False),
                name="draft_hold_held_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(state=HoldState.RELEASED)
                | (Q(released_at__isnull=False) & ~Q(release_cause="")),
                name="draft_hold_released_has_cause",
            ),
            models.CheckConstraint(
                condition=Q(requested_by="") | ~Q(request_reason=""), name="draft_hold_request_has_reason"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["state", "period"], name="draft_hold_queue")]

    def __str__(self) -> str:
        return f"{self.stripe_invoice_id} ({self.period}): {self.state}"
