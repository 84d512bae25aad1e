"""Let subscriptions follow their accounts' plans."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from cohorts.selectors import get_cohort
from cohorts.services import sync_subscriptions


class Command(BillingCommand):
    help = (
        "Change subscriptions so that each month is billed by the plan in force on its first. Safe to repeat."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--cohort", help="Only its members. Default: every provisioned cohort.")
        parser.add_argument(
            "--dry-run", action="store_true", help="Say what would change, and change nothing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["cohort"]
        results = sync_subscriptions(
            cohort_id=get_cohort(name).pk if name else None,
            is_dry_run=options["dry_run"],
            actor="command:sync_subscriptions",
            now=timezone.now(),
            track=lambda payers: self.track(payers, description="Comparing subscriptions"),
        )
        for result in results:
            if result.outcome != "unchanged":
                self.stdout.write(f"account {result.account_id}: {result.outcome}: {result.detail}")
        counts = Counter(result.outcome for result in results)
        self.stdout.write(
            ", ".join(
                f"{counts[outcome]} {outcome}"
                for outcome in ("changed", "planned", "waiting", "failed", "unchanged")
                if counts[outcome] or outcome in ("changed", "unchanged")
            )
        )
        if counts["failed"]:
            raise CommandError("some subscriptions could not be changed: see above", returncode=2)
