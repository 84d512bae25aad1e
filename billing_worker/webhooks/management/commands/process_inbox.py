"""Work the inbox off in this process."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from billing_worker.commands import BillingCommand
from billing_worker.webhooks.tasks import drain_inbox


class Command(BillingCommand):
    help = "Process the events that are due, here and now, without Celery; exits 1 if any of them has failed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--seconds", type=float, default=3600, help="Stop after so long (default: an hour)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        counts = drain_inbox(seconds=options["seconds"])
        self.stdout.write(
            ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nothing due"
        )
        if counts.get("failed") or counts.get("retried"):
            raise SystemExit(1)
