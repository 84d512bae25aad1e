"""Propose true-ups for usage that came after its month was billed, and list what waits."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from billing_worker.core.money import format_minor
from billing_worker.core.periods import Period
from metering.true_ups.models import TrueUp
from metering.true_ups.proposing import ProposalResult, propose_true_ups
from metering.true_ups.states import WAITING_STATES


class Command(BillingCommand):
    help = "Propose true-ups for usage that came after its month was billed, and list those that wait for a decision"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--period", help="Only this month, like 2026-10 (default: all).")
        parser.add_argument("--account", type=int, help="Only this account's usage.")
        parser.add_argument("--list", action="store_true", help="Propose nothing; list what waits.")

    def handle(self, *args: Any, **options: Any) -> None:
        period = Period.parse(options["period"]) if options["period"] else None
        if not options["list"]:
            result = ProposalResult()
            runs = propose_true_ups(now=timezone.now(), period=period, account_id=options["account"])
            for result in self.track(runs, description="looking at payers"):  # noqa: B007
                pass
            self.stdout.write(
                f"proposed {result.proposed}, without charge {result.free}, meter events taken over {result.events}"
            )
        self._list_waiting(period, options["account"])

    def _list_waiting(self, period: Period | None, account_id: int | None) -> None:
        waiting = TrueUp.objects.filter(state__in=WAITING_STATES).order_by("period", "account_id", "pk")
        if period is not None:
            waiting = waiting.filter(period=str(period))
        if account_id is not None:
            waiting = waiting.filter(account=account_id)
        for true_up in waiting.iterator():
            amount = format_minor(true_up.amount_minor, true_up.currency)
            self.stdout.write(
                f"{true_up.pk}: account {true_up.account_id}, {true_up.period}, {true_up.units:+,} {true_up.meter},"
                f" {amount}, {true_up.get_state_display().lower()}"
            )
