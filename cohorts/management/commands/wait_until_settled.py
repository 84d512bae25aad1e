"""Wait until nothing is on its way."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import CommandParser

from billing_worker.commands import BillingCommand
from billing_worker.core.errors import Unavailable
from cohorts.settling import count_open_work


class Command(BillingCommand):
    help = "Wait until no webhook, meter event, document or mail is on its way; exit 2 if some still are at the timeout"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--timeout", type=int, default=120, help="Seconds to wait at most (default: 120)."
        )
        parser.add_argument(
            "--quiet-for", type=int, default=2, help="Seconds that it must stay quiet (default: 2)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        deadline = time.monotonic() + options["timeout"]
        quiet_since: float | None = None
        while True:
            work, now = count_open_work(), time.monotonic()
            quiet_since = (quiet_since or now) if work.is_settled else None
            if quiet_since is not None and now - quiet_since >= options["quiet_for"]:
                break
            if now > deadline:
                raise Unavailable(f"not settled after {options['timeout']} s: {work}. Is a worker running?")
            time.sleep(0.25)
        self.stdout.write("nothing is on its way" if not work.is_stuck else f"nothing moves any more: {work}")
