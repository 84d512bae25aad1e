"""Runs, what each found per payer, and the drifts that live on between runs."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from billing_worker.accounts.models import Account
from billing_worker.accounts.states import Biller
from billing_worker.core.money import format_minor
from reconciliation.states import DriftCause, DriftState, RunState


class ReconciliationRun(models.Model):
    """One comparison of the ledgers for a period. Finished runs are evidence and never change."""

    period = models.CharField(max_length=7)
    scope = models.CharField(max_length=80, blank=True, help_text="Cohort, or empty for every account.")
    state = models.CharField(max_length=10, choices=RunState.choices, default=RunState.RUNNING)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    accounts_checked = models.PositiveIntegerField(default=0)
    accounts_with_drift = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [models.Index(fields=["period", "state"], name="run_period_state")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(state=RunState.RUNNING, finished_at__isnull=True)
                | (~Q(state=RunState.RUNNING) & Q(finished_at__isnull=False)),
                name="run_finished_has_time",
            ),
        ]

    def __str__(self) -> str:
        return f"Run {self.pk} for {self.period}"


class AccountResult(models.Model):
    """What one run found for one payer and currency. Amounts cover the period by line, tax included."""

    run = models.ForeignKey(ReconciliationRun, on_delete=models.CASCADE, related_name="results")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    currency = models.CharField(max_length=3)
    legacy_minor = models.BigIntegerField()
    stripe_minor = models.BigIntegerField()
    gross_minor = models.BigIntegerField(
        help_text="Sum of absolute differences: errors that cancel still show."
    )
    drift_count = models.PositiveIntegerField()
    biller = models.CharField(
        max_length=8,
        choices=Biller.choices,
        default=Biller.STRIPE,
        db_default=Biller.STRIPE,
        help_text="Legacy: the month was handed back, so that legacy alone is to bill it.",
    )

    class Meta:
        ordering: ClassVar = ["run_id", "account_id", "currency"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "account", "currency"], name="account_result_one_per_run"),
        ]

    def __str__(self) -> str:
        return f"{self.account_id}: {format_minor(self.difference_minor, self.currency)}"

    @property
    def difference_minor(self) -> int:
        """Stripe less legacy; of a month that was handed back, what Stripe billed as well."""
        return self.stripe_minor - (0 if self.biller == Biller.LEGACY else self.legacy_minor)


class Drift(models.Model):
    """A difference between the ledgers with its cause, its owner and its history."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="drifts")
    period = models.CharField(max_length=7)
    currency = models.CharField(max_length=3)
    kind = models.CharField(
        max_length=10, help_text="Line kind: sub, ST, RM, CV, managed, custom, tax or invoice."
    )
    state = models.CharField(max_length=10, choices=DriftState.choices, default=DriftState.OPEN)
    cause = models.CharField(max_length=32, choices=DriftCause.choices)
    explanation = models.TextField()
    legacy_minor = models.BigIntegerField()
    stripe_minor = models.BigIntegerField()
    gross_minor = models.BigIntegerField()
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="Who looks into it.",
    )
    accepted_reason = models.TextField(blank=True)
    first_run = models.ForeignKey(ReconciliationRun, on_delete=models.PROTECT, related_name="+")
    last_run = models.ForeignKey(ReconciliationRun, on_delete=models.PROTECT, related_name="drifts")
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-period", "account_id", "kind"]
        permissions: ClassVar = [("accept_drift", "Can take on and accept a drift")]
        indexes: ClassVar = [models.Index(fields=["period", "state"], name="drift_period_state")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account", "period", "currency", "kind"], name="drift_one_per_kind"
            ),
            models.CheckConstraint(
                condition=Q(state=DriftState.RESOLVED, resolved_at__isnull=False)
                | (~Q(state=DriftState.RESOLVED) & Q(resolved_at__isnull=True)),
                name="drift_resolved_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(state=DriftState.ACCEPTED) | ~Q(accepted_reason=""),
                name="drift_accepted_has_reason",
            ),
            models.CheckConstraint(condition=Q(gross_minor__gte=0), name="drift_gross_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} {self.period} {self.kind}: {format_minor(self.difference_minor, self.currency)}"

    @property
    def difference_minor(self) -> int:
        """Stripe less legacy."""
        return self.stripe_minor - self.legacy_minor


class DriftEvent(models.Model):
    """One step in a drift's life: found, changed, accepted, gone."""

    drift = models.ForeignKey(Drift, on_delete=models.CASCADE, related_name="history")
    run = models.ForeignKey(
        ReconciliationRun, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    at = models.DateTimeField()
    actor = models.CharField(max_length=150)
    state = models.CharField(max_length=10, choices=DriftState.choices)
    cause = models.CharField(max_length=32, choices=DriftCause.choices)
    difference_minor = models.BigIntegerField()
    note = models.TextField(blank=True)

    class Meta:
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.state}"
