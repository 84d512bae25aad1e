"""Checks that were made, with what differed."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from metering.parity.states import ParityState


class ParityCheck(models.Model):
    """One comparison over one window. Never edited."""

    source = models.CharField(
        max_length=20, help_text="Where the other side was read: http, csv or redshift."
    )
    window_start_at = models.DateTimeField(help_text="First instant of the window.")
    window_end_at = models.DateTimeField(help_text="First instant after the window.")
    is_scheduled = models.BooleanField(help_text="Made by the schedule; only these count for the gate.")
    state = models.CharField(max_length=10, choices=ParityState.choices)
    compared = models.PositiveIntegerField(
        default=0, help_text="Figures (account and meter) that either side has."
    )
    breaches = models.PositiveIntegerField(default=0, help_text="Results beyond their tolerance.")
    detail = models.TextField(blank=True, help_text="Why it failed.")
    checked_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-checked_at", "-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(state__in=ParityState.values), name="parity_check_state_known"
            ),
            models.CheckConstraint(
                condition=Q(window_start_at__lt=F("window_end_at")), name="parity_check_window_runs_forward"
            ),
            models.CheckConstraint(
                condition=Q(state=ParityState.BREACH, breaches__gt=0)
                | (~Q(state=ParityState.BREACH) & Q(breaches=0)),
                name="parity_check_breach_is_counted",
            ),
            models.CheckConstraint(
                condition=~Q(state=ParityState.FAILED) | ~Q(detail=""), name="parity_check_failed_says_why"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["is_scheduled", "checked_at"], name="parity_check_streak")]

    def __str__(self) -> str:
        start, end = self.window_start_at, self.window_end_at
        return f"{self.source} {start:%Y-%m-%dT%H:%MZ} to {end:%Y-%m-%dT%H:%MZ}: {self.state}"


class ParityResult(models.Model):
    """A meter's total, or one account that differs. Accounts that agree to the unit have no row."""

    parity_check = models.ForeignKey(ParityCheck, on_delete=models.CASCADE, related_name="results")
    account_id = models.BigIntegerField(
        null=True, blank=True, help_text="As either side calls it, known here or not; empty: all accounts."
    )
    meter = models.CharField(max_length=40)
    ours = models.DecimalField(max_digits=30, decimal_places=6)
    theirs = models.DecimalField(max_digits=30, decimal_places=6)
    gross_difference = models.DecimalField(
        max_digits=30, decimal_places=6, help_text="Differences added up without their signs."
    )
    tolerance_percent = models.DecimalField(max_digits=9, decimal_places=6)
    is_breach = models.BooleanField()

    class Meta:
        ordering: ClassVar = ["-is_breach", "meter", "account_id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(gross_difference__gte=0), name="parity_result_difference_has_no_sign"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account_id or 'all accounts'} {self.meter}: {self.ours} and {self.theirs}"
