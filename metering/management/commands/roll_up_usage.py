"""Make meter events of closed usage."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from billing_worker.core.periods import Period
from metering.buckets import get_first_open_date
from metering.config import get_grace, get_seam
from metering.runs.services import do_run, start_run
from metering.services.roll_up import RollUpResult, list_open_feeds


class Command(BillingCommand):
    help = "Make meter events of the usage whose day (or month) is closed. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--period", type=Period.parse, help="Only this month, like 2026-10.")

    def handle(self, *, period: Period | None, **options: Any) -> None:
        now, grace = timezone.now(), get_grace()
        total = len(list_open_feeds(get_first_open_date(now, grace), period))
        result = RollUpResult()
        run = start_run(trigger="command:roll_up_usage", period=period, now=now)
        steps = do_run(run, grace=grace, seam=get_seam(), clock=timezone.now)
        for result in self.track(steps, description="months rolled up", total=total):  # noqa: B007
            pass
        self.stdout.write(
            f"{result.months} months, {result.records} records: {result.events} meter events,"
            f" {result.skipped} never billed, {result.without_customer} without a Stripe customer yet"
        )
        if result.samples:
            self.stdout.write(f"  {result.samples} samples added to their buckets")
        for reason, count in result.reasons.items():
            self.stdout.write(f"  {count} skipped: {reason}")
