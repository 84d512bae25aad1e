"""Move test clocks on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from billing_worker.accounts.models import TestClock
from billing_worker.commands import BillingCommand
from billing_worker.core.errors import InvalidInput, NotAllowed
from cohorts.selectors import get_cohort
from cohorts.services import advance_clocks


class Command(BillingCommand):
    help = "Advance the test clocks of a cohort, or all of them, to an instant and wait for Stripe (test mode only)"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--to", required=True, help="ISO 8601 with zone, like 2026-11-01T02:00:00Z.")
        parser.add_argument("--cohort", help="Only this cohort's clocks.")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.STRIPE_LIVE_MODE:
            raise NotAllowed("test clocks exist in test mode only; this is a live key")
        instant = _parse_instant(options["to"])
        clocks = TestClock.objects.all()
        if options["cohort"]:
            clocks = clocks.filter(accounts__cohort_members__cohort=get_cohort(options["cohort"])).distinct()
        found = list(clocks)
        moved = advance_clocks(
            clocks=found,
            to=instant,
            track=lambda groups: self.track(groups, description="Advancing test clocks"),
        )
        self.stdout.write(
            f"{moved} of {len(found)} test clocks moved; all stand at {instant:%Y-%m-%d %H:%M} UTC or later"
        )


def _parse_instant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"--to {text!r} is not a time like 2026-11-01T02:00:00Z") from None
    if moment.tzinfo is None:
        raise InvalidInput(f"--to {text!r} lacks a zone: add Z for UTC")
    return moment.astimezone(UTC)
