"""Hand a cohort back to legacy from a month on, or take that back before the month begins."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period
from cohorts.models import Cohort, Rollback
from cohorts.rolling_back import RollbackPlan, list_remaining, plan_rollback
from cohorts.selectors import get_cohort
from cohorts.services import request_rollback, settle_rollback, withdraw_rollback
from cohorts.services.rollback import CannotRollBack, require_rollback

ACTOR = "command:rollback_cohort"


class Command(BillingCommand):
    help = (
        "Hand a cohort back to legacy from --from on: subscriptions end at the turn of the month, leases say legacy. "
        "Safe to interrupt and to repeat; exit 1 if some payers are still to do"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--cohort", required=True, help="The cohort's name.")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--from", dest="period", help="First month that legacy bills, like 2026-12.")
        what.add_argument(
            "--withdraw", action="store_true", help="Take the rollback back, before its month begins."
        )
        parser.add_argument(
            "--reason", default="", help="Why; kept with the rollback and in the audit trail."
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Say what would happen to each payer, and change nothing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        cohort = get_cohort(options["cohort"])
        if options["dry_run"]:
            if options["withdraw"]:
                raise InvalidInput("--dry-run shows a rollback: give --from with it, not --withdraw")
            self._show_plan(cohort, Period.parse(options["period"]))
            return
        if options["withdraw"]:
            rollback = withdraw_rollback(
                cohort_id=cohort.pk, reason=options["reason"], actor=ACTOR, now=timezone.now()
            )
        else:
            rollback = request_rollback(
                cohort_id=cohort.pk,
                period=Period.parse(options["period"]),
                reason=options["reason"],
                actor=ACTOR,
                now=timezone.now(),
            )
        self._settle(rollback)

    def _settle(self, rollback: Rollback) -> None:
        name = rollback.cohort.name
        results = settle_rollback(
            rollback_id=rollback.pk,
            actor=ACTOR,
            now=timezone.now(),
            track=lambda steps: self.track(steps, description=f"Rolling {name} back"),
        )
        for result in results:
            if result.outcome != "done":
                self.stdout.write(f"account {result.payer_id}: {result.outcome}: {result.detail}")
        rollback.refresh_from_db()
        for line in list_remaining(rollback):
            self.stdout.write(f"still to come: {line}")
        done = sum(result.outcome == "done" for result in results)
        self.stdout.write(
            f"cohort {name} from {rollback.from_period} on: {rollback.get_state_display()}, {done} payers just now"
        )
        if done < len(results):
            raise CommandError(
                "some payers are still to do: the worker tries again every 15 minutes, or repeat this",
                returncode=1,
            )

    def _show_plan(self, cohort: Cohort, period: Period) -> None:
        """Raises what the rollback itself would raise."""
        require_rollback(cohort)
        plan = plan_rollback(cohort=cohort, period=period, now=timezone.now())
        for line in describe_plan(plan):
            self.stdout.write(line)
        if plan.problems:
            raise CannotRollBack(f"cohort {cohort.name} can't be rolled back: {'; '.join(plan.problems)}")
        self.stdout.write(f"{len(plan.payers)} payers would go back to legacy from {period} on")


def describe_plan(plan: RollbackPlan) -> list[str]:
    """A line for each payer."""
    lines = []
    for row in plan.payers:
        ends = (
            f"{row.subscription_id} ends on {plan.period.start_date}"
            if row.subscription_id
            else "nothing recurs"
        )
        if row.has_ended:
            ends = f"{row.subscription_id} has ended"
        others = f", with {len(row.account_ids) - 1} more" if len(row.account_ids) > 1 else ""
        notes = "".join(f"; {note}" for note in row.notes)
        lines.append(
            f"account {row.payer.pk}{others}: {ends}, {row.leased_after} leases turn to legacy{notes}"
        )
    return lines
