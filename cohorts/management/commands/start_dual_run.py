"""Hand a ready cohort's month to Stripe."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from cohorts.selectors import get_cohort
from cohorts.services import start_dual_run


class Command(BillingCommand):
    help = "Start a ready cohort's dual run: its leases say Stripe, legacy runs in shadow"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("cohort")

    def handle(self, *args: Any, **options: Any) -> None:
        cohort = start_dual_run(
            cohort_id=get_cohort(options["cohort"]).pk, actor="command:start_dual_run", now=timezone.now()
        )
        self.stdout.write(f"cohort {cohort.name}: dual run of {cohort.dual_run_period}")
