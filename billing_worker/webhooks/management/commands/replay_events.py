"""Process settled events again."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from billing_worker.webhooks.models import InboxEvent
from billing_worker.webhooks.services import replay_events
from billing_worker.webhooks.states import InboxState


class Command(BillingCommand):
    help = (
        "Put events that are processed, failed or ignored back into the queue; a worker processes them again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--id", action="append", dest="ids", metavar="EVT", help="A Stripe event id; repeatable."
        )
        parser.add_argument("--failed", action="store_true", help="Every failed event.")
        parser.add_argument("--type", dest="type", metavar="TYPE", help="Every event of this type.")

    def handle(self, *args: Any, **options: Any) -> None:
        events = InboxEvent.objects.all()
        if not (options["ids"] or options["failed"] or options["type"]):
            raise CommandError("say which: --id EVT, --failed or --type TYPE", returncode=2)
        if options["ids"]:
            events = events.filter(event_id__in=options["ids"])
            missing = sorted(set(options["ids"]) - set(events.values_list("event_id", flat=True)))
            if missing:
                raise CommandError(
                    f"not in the inbox: {', '.join(missing)}; backfill_events fetches up to 30 days back",
                    returncode=2,
                )
        if options["failed"]:
            events = events.filter(state=InboxState.FAILED)
        if options["type"]:
            events = events.filter(type=options["type"])
        count = replay_events(events=events, now=timezone.now())
        self.stdout.write(f"{count} event(s) put back into the queue.")
