"""Fetch a month's usage from the warehouse, or from a file."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period
from metering.parsing import MAX_REASON
from metering.pulling.alerting import report_overdue_days
from metering.pulling.csv_file import CsvSource
from metering.pulling.redshift import RedshiftSource
from metering.pulling.services import DayResult, PullPlan, plan_pull, run_pull
from metering.pulling.states import PullState


class Command(BillingCommand):
    help = (
        "Pull a month's daily usage: complete days only, restated ones as revisions. Safe to stop and repeat."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--period", required=True, help="Calendar month in UTC, like 2026-10.")
        parser.add_argument("--source", choices=["redshift", "csv"], help="Default: csv with --file.")
        parser.add_argument("--file", type=Path, help="The CSV file.")
        parser.add_argument("--again", action="store_true", help="Read days that are held unchanged, too.")
        parser.add_argument(
            "--reason", default="", help="Restate also what somebody else stated, for this reason."
        )

    def handle(self, *, period: str, reason: str, **options: Any) -> None:
        month, reason = Period.parse(period), reason.strip()
        if len(reason) > MAX_REASON or not reason.isprintable():
            raise InvalidInput(f"--reason: one line of at most {MAX_REASON} characters")
        with _open_source(month, options["source"], options["file"]) as source:
            plan = plan_pull(source=source, period=month, now=timezone.now(), again=options["again"])
            days = self.track(
                run_pull(plan=plan, clock=timezone.now, reason=reason),
                description="days pulled",
                total=len(plan.days),
            )
            results = list(days)
            overdue = []
            if isinstance(source, RedshiftSource):
                overdue = report_overdue_days(
                    source=source.name,
                    period=month,
                    listed=plan.listed,
                    first_day=source.get_first_day(),
                    overdue_after=timedelta(hours=settings.ENV.USAGE_OVERDUE_HOURS),
                    now=timezone.now(),
                )
        self._report(plan, results, len(overdue))

    def _report(self, plan: PullPlan, results: list[DayResult], overdue: int) -> None:
        read = [result for result in results if result.state is not None]
        self.stdout.write(
            f"{plan.source.name} {plan.period}: {len(read)} days read, {plan.held} held as they are; "
            f"{sum(result.rows for result in read)} rows: {sum(result.created for result in read)} created, "
            f"{sum(result.restated for result in read)} restated, "
            f"{sum(result.unchanged for result in read)} unchanged, "
            f"{sum(result.refused for result in read)} refused"
        )
        if overdue:
            self.stdout.write(f"  {overdue} days are overdue")
        if busy := len(results) - len(read):
            self.stdout.write(f"  {busy} days are being read by another pull")
        troubled = [result for result in read if result.state in (PullState.PARTIAL, PullState.FAILED)]
        for result in troubled:
            for line in result.detail.splitlines():
                self.stdout.write(f"  {result.day}: {line}")
        if troubled:
            raise CommandError(f"{len(troubled)} day(s) are not wholly in", returncode=1)


def _open_source(
    period: Period, name: str | None, file: Path | None
) -> RedshiftSource | nullcontext[CsvSource]:
    """The source that the options name.

    Raises:
        InvalidInput: they contradict each other, or the warehouse has no address.
    """
    if (name or ("csv" if file else "redshift")) == "csv":
        if file is None:
            raise InvalidInput("--source csv needs --file PATH")
        return nullcontext(CsvSource(file, period=period, today=timezone.now().date()))
    if file is not None:
        raise InvalidInput("--file belongs to --source csv")
    if not settings.ENV.REDSHIFT_DATABASE_URL:
        raise InvalidInput(
            "there is no warehouse: set REDSHIFT_DATABASE_URL, or pull a file with --file PATH"
        )
    return RedshiftSource(settings.ENV.REDSHIFT_DATABASE_URL)
