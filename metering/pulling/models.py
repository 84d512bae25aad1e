"""Which days were pulled from where, and what came of it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from metering.pulling.states import PullState


class UsagePull(models.Model):
    """One day of one source. The claim makes sure that one puller at a time writes the day."""

    source = models.CharField(max_length=20, help_text="redshift or csv.")
    day = models.DateField(help_text="The day (UTC) that the usage belongs to.")
    state = models.CharField(max_length=10, choices=PullState.choices, default=PullState.WAITING)
    fingerprint = models.CharField(
        max_length=100, blank=True, help_text="What the source said of the day when it was last pulled."
    )
    completed_at = models.DateTimeField(null=True, blank=True, help_text="When the source finished loading.")
    rows = models.PositiveIntegerField(default=0, help_text="Rows read by the last pull.")
    created = models.PositiveIntegerField(default=0)
    unchanged = models.PositiveIntegerField(default=0)
    restated = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    detail = models.TextField(blank=True, help_text="Why rows were refused, or why it broke off.")
    claim_token = models.CharField(max_length=36, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    pulled_at = models.DateTimeField(
        null=True, blank=True, help_text="End of the last pull that read it all."
    )

    class Meta:
        ordering: ClassVar = ["-day", "source"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["source", "day"], name="usage_pull_one_per_day"),
            models.CheckConstraint(condition=Q(state__in=PullState.values), name="usage_pull_state_known"),
            models.CheckConstraint(
                condition=~Q(state__in=[PullState.DONE, PullState.PARTIAL])
                | (Q(pulled_at__isnull=False) & ~Q(fingerprint="")),
                name="usage_pull_read_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(state=PullState.PULLING) | (Q(claimed_at__isnull=False) & ~Q(claim_token="")),
                name="usage_pull_pulling_is_claimed",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[PullState.PARTIAL, PullState.FAILED]) | ~Q(detail=""),
                name="usage_pull_trouble_has_detail",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.day}: {self.state}"
