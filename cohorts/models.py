"""Cohorts: who moves together, what was set up for them at Stripe, and who signed for it."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from billing_worker.accounts.models import Account
from cohorts.states import ChangeState, CohortState, ProvisioningState


class Cohort(models.Model):
    """Accounts that move to Stripe together. `dual_run_period` is the month that both sides compute."""

    name = models.SlugField(max_length=60, unique=True)
    description = models.CharField(max_length=255, blank=True)
    state = models.CharField(max_length=10, choices=CohortState.choices, default=CohortState.DRAFT)
    dual_run_period = models.CharField(
        max_length=7, blank=True, help_text="Calendar month in UTC, like 2026-10."
    )
    created_at = models.DateTimeField()
    ready_at = models.DateTimeField(null=True, blank=True)
    dual_run_at = models.DateTimeField(null=True, blank=True)
    clean_at = models.DateTimeField(null=True, blank=True)
    migrated_at = models.DateTimeField(null=True, blank=True)
    evidence = models.JSONField(default=dict, blank=True, help_text="What the gate saw when it opened.")
    evidence_hash = models.CharField(max_length=64, blank=True, help_text="SHA-256 of the evidence.")

    class Meta:
        ordering: ClassVar = ["name"]
        permissions: ClassVar = [
            ("sign_off_cohort", "Can sign a cohort off"),
            ("run_cohort", "Can move a cohort along"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=~Q(state=CohortState.DUAL_RUN) | Q(dual_run_at__isnull=False),
                name="cohort_dual_run_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[CohortState.CLEAN, CohortState.MIGRATED])
                | (Q(clean_at__isnull=False) & ~Q(evidence_hash="")),
                name="cohort_clean_has_evidence",
            ),
            models.CheckConstraint(
                condition=Q(state=CohortState.MIGRATED, migrated_at__isnull=False)
                | (~Q(state=CohortState.MIGRATED) & Q(migrated_at__isnull=True)),
                name="cohort_migrated_has_time",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class CohortMember(models.Model):
    """One account's place in the one cohort that it moves with."""

    cohort = models.ForeignKey(Cohort, on_delete=models.PROTECT, related_name="members")
    account = models.OneToOneField(Account, on_delete=models.PROTECT, related_name="cohort_member")
    provisioning = models.CharField(
        max_length=12, choices=ProvisioningState.choices, default=ProvisioningState.PENDING
    )
    stripe_subscription_id = models.CharField(max_length=64, blank=True)
    provisioned_at = models.DateTimeField(null=True, blank=True)
    provisioning_error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering: ClassVar = ["cohort_id", "account_id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(provisioning=ProvisioningState.PROVISIONED, provisioned_at__isnull=False)
                | (~Q(provisioning=ProvisioningState.PROVISIONED) & Q(provisioned_at__isnull=True)),
                name="cohort_member_provisioned_has_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} in {self.cohort_id}"


class SubscriptionChange(models.Model):
    """One change of a payer's subscription that follows its plan: committed before Stripe is asked, settled after.

    `number` counts a subscription's changes from 1 and makes the idempotency key, so two workers make each one once.
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="subscription_changes")
    stripe_subscription_id = models.CharField(max_length=64)
    number = models.PositiveIntegerField()
    period = models.CharField(max_length=7, help_text="The first month that is billed by it, like 2026-11.")
    summary = models.CharField(max_length=500, help_text="What changes, for people.")
    request = models.JSONField(help_text="What Stripe is asked for.")
    state = models.CharField(max_length=10, choices=ChangeState.choices, default=ChangeState.PENDING)
    created_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["stripe_subscription_id", "number"], name="subscription_change_once_per_number"
            ),
            models.CheckConstraint(
                condition=Q(state=ChangeState.PENDING, settled_at__isnull=True)
                | (~Q(state=ChangeState.PENDING) & Q(settled_at__isnull=False)),
                name="subscription_change_settled_has_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} from {self.period}: {self.summary}"


class SignOff(models.Model):
    """One person's signature over one state of the evidence. Voided when the evidence changes, never deleted."""

    cohort = models.ForeignKey(Cohort, on_delete=models.PROTECT, related_name="sign_offs")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    role = models.CharField(max_length=40, help_text="The group that the person signed for.")
    evidence_hash = models.CharField(max_length=64)
    gate_opened_at = models.DateTimeField(help_text="Which opening of the gate the signature belongs to.")
    signed_at = models.DateTimeField()
    voided_at = models.DateTimeField(null=True, blank=True)
    void_reason = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cohort", "user", "gate_opened_at"], name="sign_off_once_per_opening"
            ),
            models.CheckConstraint(
                condition=Q(voided_at__isnull=True) | ~Q(void_reason=""), name="sign_off_void_has_reason"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} for {self.cohort}"
