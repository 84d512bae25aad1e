"""Compare what legacy and Stripe billed for a month."""

from __future__ import annotations

import io
import json
from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone
from rich.console import Console
from rich.table import Table

from billing_worker.accounts.selectors import get_leased_payer_ids
from billing_worker.commands import BillingCommand
from billing_worker.core.money import format_minor
from billing_worker.core.periods import Period
from cohorts.selectors import get_cohort
from cohorts.services import reconcile_cohort
from reconciliation.models import ReconciliationRun
from reconciliation.selectors import get_found_drifts
from reconciliation.services import run_reconciliation


class Command(BillingCommand):
    help = "Reconcile a month for a cohort or for all that Stripe bills or billed; exit code 1 if any cent differs"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--period", required=True, help="Calendar month in UTC, like 2026-10.")
        parser.add_argument(
            "--cohort", help="Only this cohort; default: every payer with a lease for the period."
        )
        parser.add_argument("--json", action="store_true", help="Print the run as JSON instead of a table.")

    def handle(self, *args: Any, **options: Any) -> None:
        run = _run(Period.parse(options["period"]), options["cohort"], now=timezone.now())
        if options["json"]:
            self.stdout.write(json.dumps(_describe(run), indent=2, ensure_ascii=False))
        else:
            self._print(run)
        if run.accounts_with_drift:
            raise SystemExit(1)

    def _print(self, run: ReconciliationRun) -> None:
        if run.accounts_with_drift:
            self.stdout.write(_draw_table(run))
        verdict = (
            f", {run.accounts_with_drift} with drift" if run.accounts_with_drift else ", not one cent apart"
        )
        self.stdout.write(f"run {run.pk} for {run.period}: {run.accounts_checked} accounts checked{verdict}")


def _run(period: Period, cohort_name: str | None, *, now: datetime) -> ReconciliationRun:
    if not cohort_name:
        return run_reconciliation(period=period, payer_ids=get_leased_payer_ids(period), scope="", now=now)
    cohort = get_cohort(cohort_name)
    return reconcile_cohort(cohort_id=cohort.pk, period=period, actor="command:reconcile", now=now)


def _draw_table(run: ReconciliationRun) -> str:
    table = Table(title=f"Reconciliation of {run.period} {run.scope}".rstrip())
    for name in ("account", "kind", "legacy", "Stripe", "difference", "cause"):
        table.add_column(name, justify="right" if name in {"legacy", "Stripe", "difference"} else "left")
    for drift in get_found_drifts(run):
        table.add_row(
            str(drift.account),
            drift.kind,
            format_minor(drift.legacy_minor, drift.currency),
            format_minor(drift.stripe_minor, drift.currency),
            format_minor(drift.difference_minor, drift.currency),
            f"{drift.get_cause_display()}: {drift.explanation}",
        )
    text = io.StringIO()
    Console(file=text, width=160).print(table)
    return text.getvalue()


def _describe(run: ReconciliationRun) -> dict[str, Any]:
    return {
        "run": run.pk,
        "period": run.period,
        "scope": run.scope,
        "accounts_checked": run.accounts_checked,
        "accounts_with_drift": run.accounts_with_drift,
        "results": [
            {
                "account_id": result.account_id,
                "currency": result.currency,
                "legacy_minor": result.legacy_minor,
                "stripe_minor": result.stripe_minor,
                "difference_minor": result.difference_minor,
            }
            for result in run.results.all()
        ],
        "drifts": [
            {
                "account_id": drift.account_id,
                "kind": drift.kind,
                "cause": drift.cause,
                "currency": drift.currency,
                "difference_minor": drift.difference_minor,
                "gross_minor": drift.gross_minor,
                "explanation": drift.explanation,
            }
            for drift in get_found_drifts(run)
        ],
    }
