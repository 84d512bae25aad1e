"""Look at a cohort's gate, and open it if every condition is met."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from cohorts.gate import evaluate_gate
from cohorts.selectors import get_cohort
from cohorts.services import open_gate


class Command(BillingCommand):
    help = "Open a cohort's gate so that its clean cycle can be signed; --check only shows the conditions"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("cohort")
        parser.add_argument(
            "--check", action="store_true", help="Change nothing; exit 1 if the gate would stay shut."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        cohort, now = get_cohort(options["cohort"]), timezone.now()
        if not options["check"]:
            cohort, report = open_gate(cohort_id=cohort.pk, actor="command:open_gate", now=now)
            self.stdout.write(f"cohort {cohort.name}: the gate is open, evidence {report.evidence_hash[:12]}")
            return
        found = evaluate_gate(cohort=cohort, now=now)
        if found is None:
            self.stdout.write(f"cohort {cohort.name} has no dual-run period yet: provision it first")
            raise SystemExit(1)
        for check in found.checks:
            self.stdout.write(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.detail}")
        for reason in found.not_asked:
            self.stdout.write(f"     not asked for: {reason}")
        if not found.is_open:
            raise SystemExit(1)
