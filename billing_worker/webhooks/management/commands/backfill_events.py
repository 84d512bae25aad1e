"""Fetch events that no webhook brought."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from billing_worker.webhooks.services import backfill_events


def parse_since(text: str) -> datetime:
    """ISO 8601, a date or an instant; without a zone it is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Command(BillingCommand):
    help = "List Stripe's own record of events (30 days) and take in what the inbox lacks."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since", required=True, help="Like 2026-10-31 or 2026-10-31T06:00:00Z, UTC by default."
        )
        parser.add_argument(
            "--type", action="append", dest="types", metavar="TYPE", help="Only this type; repeatable."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            since = parse_since(options["since"])
        except ValueError:
            raise CommandError(
                f"--since {options['since']!r} is not a date like 2026-10-31 or 2026-10-31T06:00:00Z",
                returncode=2,
            ) from None
        seen, added = backfill_events(since=since, now=timezone.now(), types=options["types"])
        self.stdout.write(f"{seen} event(s) at Stripe, {added} of them new to the inbox.")
