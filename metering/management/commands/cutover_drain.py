"""Wait until nothing before the seam is unsettled, and prove it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from billing_worker.core.errors import InvalidInput
from metering.config import get_grace, get_seam
from metering.services.cutover import record_drain, watch_drain
from metering.services.seam import parse_bound

MAX_TIMEOUT = timedelta(days=1)


class Command(BillingCommand):
    help = "Wait until everything before an instant is settled and record the proof; exit 2 with figures if it isn't"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--until",
            required=True,
            help="The seam, a day like 2026-10-05: usage before it has to be settled.",
        )
        parser.add_argument(
            "--timeout", type=int, default=120, help="Seconds to wait at most (default: 120; 0 only looks)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        timeout = timedelta(seconds=min(options["timeout"], MAX_TIMEOUT.total_seconds() + 1))
        if not timedelta(0) <= timeout <= MAX_TIMEOUT:
            raise InvalidInput("--timeout is 0 to 86400 seconds")
        looks = watch_drain(
            until=parse_bound(options["until"], name="--until"),
            seam=get_seam(),
            grace=get_grace(),
            timeout=timeout,
            clock=timezone.now,
        )
        for state in self.track(looks, description="looking at what is left"):  # noqa: B007
            pass
        record_drain(state=state, actor="command:cutover_drain", now=timezone.now())
        self.stdout.write(f"drained before {state.until:%Y-%m-%d}: {state.describe_settled()}")
