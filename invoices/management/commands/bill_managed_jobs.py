"""Bill finished managed-service jobs of a month as Stripe invoice items."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from billing_worker.core.periods import Period
from invoices.services.managed import bill_managed_jobs


class Command(BillingCommand):
    help = (
        "Sends every managed-service job completed in the month, of accounts that Stripe bills then, to Stripe "
        "as an invoice item with its exact amount, once. Run it before the month-end invoices are finalized."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--period", required=True, help="month like 2026-10")

    def handle(self, *args: Any, **options: Any) -> None:
        period = Period.parse(options["period"])
        if settings.ENV.SHADOW:
            raise CommandError(
                "SHADOW is on: nothing is sent to Stripe. Set SHADOW=false to bill.", returncode=2
            )
        report = bill_managed_jobs(period=period, now=timezone.now())
        self.stdout.write(
            f"{period}: {report.billed} billed ({report.created} new), {report.waiting} waiting, "
            f"{report.rejected} rejected, {report.unknown} unknown, {report.skipped} skipped"
            + (f", {report.given_up} given up" if report.given_up else "")
        )
        if report.waiting or report.rejected or report.unknown:
            raise CommandError(
                "not every job is billed: run it again, or see the charges in the console", returncode=1
            )
