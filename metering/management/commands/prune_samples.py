"""Delete old samples."""

from __future__ import annotations

from datetime import timedelta
from math import ceil
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from metering.samples import pruning


class Command(BillingCommand):
    help = "Refuse samples older than --keep-days, and delete those that were refused for an hour. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--keep-days", type=int, help="Default: SAMPLES_KEEP_DAYS; at least 40.")

    def handle(self, *, keep_days: int | None, **options: Any) -> None:
        now = timezone.now()
        days = settings.ENV.SAMPLES_KEEP_DAYS if keep_days is None else keep_days
        horizon = pruning.set_horizon(keep=timedelta(days=min(days, 36_500)), now=now)
        total = ceil(pruning.select_prunable(now).count() / pruning.CHUNK)
        steps = self.track(pruning.prune_samples(now=now), description="samples deleted", total=total)
        self.stdout.write(f"{sum(steps)} samples deleted; samples before {horizon:%Y-%m-%d} are refused")
