"""Compare what Stripe's meters hold with what was sent."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from billing_worker.core.periods import Period
from metering.config import get_port
from metering.services.totals import compare_totals, list_month, list_recent_days

SHOWN = 50


class Command(BillingCommand):
    help = "Compare Stripe's meters with the events that were sent; exit 1 if a total differs, 2 if one can't be read."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--period", help="Whole months of customers, like 2026-10; default: the days sent for lately."
        )

    def handle(self, *, period: str | None, **options: Any) -> None:
        now = timezone.now()
        stretches = list_month(Period.parse(period)) if period else list_recent_days(now=now)
        compared = compare_totals(stretches, port=get_port(), now=now)
        found = list(self.track(compared, description="totals compared", total=len(stretches)))
        differing = [each for each in found if each.differs]
        unread = sum(each.theirs is None for each in found)
        for each in differing[:SHOWN]:
            self.stdout.write(f"  {each.stretch}: {each.theirs} at Stripe, {each.ours} sent")
        self.stdout.write(
            f"{len(found) - unread} totals compared, {len(differing)} differ,"
            f" {len(stretches) - len(found)} not settled yet, {unread} could not be read"
        )
        if unread:
            raise CommandError(f"{unread} totals could not be read: run it again", returncode=2)
        if differing:
            raise CommandError(f"{len(differing)} totals differ: see the alerts", returncode=1)
