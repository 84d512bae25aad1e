"""Cohorts: who moves together, what was set up for them at Stripe, and who signed for it."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Case, F, Q, When

from billing_worker.accounts.models import Account
from cohorts.states import ChangeState, CohortState, ProvisioningState, RollbackState, StepState


class Cohort(models.Model):
    """Accounts that move to Stripe together. `dual_run_period` is the month that both sides compute."""

    name = models.SlugField(max_length=60, unique=True)
    description = models.CharField(max_length=255, blank=True)
    state = models.CharField(max_length=12, choices=CohortState.choices, default=CohortState.DRAFT)
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
            ("roll_back_cohort", "Can hand a cohort back to legacy"),
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
                | (~Q(state=CohortState.MIGRATED) & Q(migrated_at__isnull=True))
                | Q(state=CohortState.ROLLED_BACK),
                name="cohort_migrated_has_time",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class CohortMember(models.Model):
    """One account's place in a cohort. It moves with one cohort at a time; a rollback releases it for another."""

    cohort = models.ForeignKey(Cohort, on_delete=models.PROTECT, related_name="members")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="cohort_members")
    released_at = models.DateTimeField(
        null=True, blank=True, help_text="When a rollback handed it back: it may join another cohort since."
    )
    #: Unique, so that two cohorts can't hold one account. MariaDB knows no unique constraint with a condition.
    held_account = models.GeneratedField(
        expression=Case(When(released_at__isnull=True, then=F("account_id")), default=None),
        output_field=models.BigIntegerField(null=True),
        db_persist=True,
        unique=True,
    )
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
            models.UniqueConstraint(fields=["cohort", "account"], name="cohort_member_once_per_cohort"),
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


class Rollback(models.Model):
    """A decision to hand a cohort back to legacy from a month on. The intent, committed before anything is changed.

    `open_cohort` is the cohort until the rollback is withdrawn: there is one at a time. What each payer has come to
    is in its steps.
    """

    cohort = models.ForeignKey(Cohort, on_delete=models.PROTECT, related_name="rollbacks")
    open_cohort = models.OneToOneField(
        Cohort, on_delete=models.PROTECT, null=True, blank=True, related_name="rollback", editable=False
    )
    from_period = models.CharField(max_length=7, help_text="First month that legacy bills, like 2026-12.")
    state = models.CharField(max_length=12, choices=RollbackState.choices, default=RollbackState.RUNNING)
    reason = models.CharField(max_length=400)
    requested_by = models.CharField(max_length=150)
    requested_at = models.DateTimeField()
    state_before = models.CharField(max_length=12, choices=CohortState.choices)
    evidence = models.JSONField(default=dict, blank=True, help_text="What had been signed for, if anything.")
    evidence_hash = models.CharField(max_length=64, blank=True)
    finished_at = models.DateTimeField(
        null=True, blank=True, help_text="When the last payer was handed back."
    )
    withdrawn_by = models.CharField(max_length=150, blank=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    withdraw_reason = models.CharField(max_length=400, blank=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(reason=""), name="rollback_has_reason"),
            models.CheckConstraint(
                condition=Q(from_period__regex=r"^[0-9]{4}-[0-9]{2}$"), name="rollback_period_is_month"
            ),
            models.CheckConstraint(
                condition=Q(state=RollbackState.WITHDRAWN, open_cohort__isnull=True)
                | (
                    ~Q(state=RollbackState.WITHDRAWN)
                    & Q(open_cohort__isnull=False)
                    & Q(open_cohort=F("cohort"))
                ),
                name="rollback_open_until_withdrawn",
            ),
            models.CheckConstraint(
                condition=~Q(state=RollbackState.DONE) | Q(finished_at__isnull=False),
                name="rollback_done_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[RollbackState.WITHDRAWING, RollbackState.WITHDRAWN])
                | (Q(withdrawn_at__isnull=False) & ~Q(withdraw_reason="")),
                name="rollback_withdrawn_has_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.cohort} from {self.from_period}"


class RollbackStep(models.Model):
    """One payer's part of a rollback: its subscription ends at `period`'s first instant, and legacy bills from there.

    `period` is the rollback's month, or a later one if Stripe had begun that month before it could be asked. `leases`
    are the account and month of every lease that the step turned to legacy: a withdrawal turns just those again.
    """

    rollback = models.ForeignKey(Rollback, on_delete=models.PROTECT, related_name="steps")
    payer = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="rollback_steps")
    account_ids = models.JSONField(help_text="The payer and those that bill through it.")
    stripe_subscription_id = models.CharField(
        max_length=64, blank=True, help_text="Empty: nothing recurs there."
    )
    period = models.CharField(max_length=7)
    state = models.CharField(max_length=10, choices=StepState.choices, default=StepState.PENDING)
    leases = models.JSONField(default=list, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering: ClassVar = ["rollback_id", "payer_id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["rollback", "payer"], name="rollback_step_once_per_payer"),
            models.CheckConstraint(
                condition=Q(state__in=[StepState.DONE, StepState.LIFTED], settled_at__isnull=False)
                | Q(state__in=[StepState.PENDING, StepState.LIFTING], settled_at__isnull=True),
                name="rollback_step_settled_has_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.payer_id} from {self.period}: {self.state}"


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
