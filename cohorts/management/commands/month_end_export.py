"""Write a month's invoices for finance. Here and not with the invoices, because a row names the account's cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from billing_worker.core.errors import InvalidInput
from billing_worker.core.money import format_minor
from billing_worker.core.periods import Period
from cohorts.models import CohortMember
from invoices.exports.month_end import add_up, count_invoices, get_service_month, iter_rows
from invoices.exports.month_end_files import write_csv, write_workbook


class Command(BillingCommand):
    help = "Write a month's invoices as XLSX (a sheet for each currency) and CSV; exit code 1 if one does not add up"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--period", required=True, help="Calendar month in UTC, like 2026-10.")
        parser.add_argument(
            "--output", type=Path, required=True, help="Folder for the files; made if missing."
        )

    def handle(self, *, period: str, output: Path, **options: Any) -> None:
        month = Period.parse(period)
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"--output {output}: {error.strerror}") from None
        cohorts = dict(CohortMember.objects.order_by("pk").values_list("account_id", "cohort__name"))
        found = iter_rows(month, cohorts=cohorts)
        rows = list(self.track(found, description="invoices", total=count_invoices(month)))
        totals = add_up(rows)
        workbook, sheet = output / f"month-end-{month}.xlsx", output / f"month-end-{month}.csv"
        write_workbook(
            workbook,
            period=month,
            rows=rows,
            totals=totals,
            service_month=get_service_month(month),
            now=timezone.now(),
        )
        write_csv(sheet, rows=rows)
        for currency, sums in totals.items():
            total, paid = sums.amounts_minor["total"], sums.amounts_minor["paid"]
            self.stdout.write(
                f"{sums.invoices} invoices over {format_minor(total, currency)},"
                f" {format_minor(paid, currency)} paid, {sums.void} void"
            )
        self.stdout.write(f"{workbook}\n{sheet}")
        if wrong := [row.number or row.stripe_invoice_id for row in rows if row.unexplained_minor]:
            raise CommandError(
                f"{len(wrong)} invoice(s) do not add up, see `unexplained`: {', '.join(wrong[:10])}",
                returncode=1,
            )
