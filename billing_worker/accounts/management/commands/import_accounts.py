"""`manage.py import_accounts`: bring accounts, plans, tiers and jobs over from the old service."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from billing_worker.accounts.services import import_accounts
from billing_worker.commands import BillingCommand
from billing_worker.legacy.selectors import get_customers


class Command(BillingCommand):
    help = (
        "Import every account of the old service. Sound accounts are created or updated, bad ones are skipped and "
        "reported one line each. Exit 0: all imported; 1: some were skipped; 2: nothing could be read."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="Report what would change and keep nothing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        report = import_accounts(
            customers=get_customers(),
            actor="command:import_accounts",
            now=timezone.now(),
            dry_run=options["dry_run"],
            progress=lambda drafts: self.track(drafts, description="Importing accounts"),
        )
        for problem in report.problems:
            self.stderr.write(str(problem))
        self.stdout.write(
            f"{len(report.created)} created, {len(report.changed)} changed, {len(report.unchanged)} unchanged, "
            f"{len(report.closed)} closed" + (" (dry run: nothing kept)" if options["dry_run"] else "")
        )
        if report.problems:
            skipped = len({problem.account_id for problem in report.problems})
            raise CommandError(f"{skipped} account(s) were not imported: see the lines above", returncode=1)
