"""Send meter events to Stripe."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from billing_worker.gateway import is_configured
from metering.config import get_port, get_seam, get_sender_options
from metering.models import MeterEvent
from metering.selectors import count_events_by_state
from metering.services.seam import align_with_seam
from metering.services.sending import SendResult, drain_meter_events
from metering.services.sending.claims import select_sendable
from metering.services.sending.run import hold_everything
from metering.states import EventState
from metering.true_ups.billed import billed_for_event


class Command(BillingCommand):
    help = "Send meter events to Stripe, batch after batch, until nothing is left that can be sent now."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--until-drained",
            action="store_true",
            help="Also wait for back-offs (up to --patience seconds without progress); exit 2 if something is left.",
        )
        parser.add_argument("--patience", type=int, default=120, help="Seconds (default 120).")
        parser.add_argument(
            "--lease-seconds",
            type=int,
            help="How long a dead sender keeps its lanes (default 120, more where STRIPE_TIMEOUT_SECONDS is great).",
        )

    def handle(
        self, *, until_drained: bool, patience: int, lease_seconds: int | None, **options: Any
    ) -> None:
        seam = get_seam()
        align_with_seam(seam=seam)
        total = SendResult()
        if not is_configured():
            total = hold_everything()
        else:
            results = drain_meter_events(
                port=get_port(),
                seam=seam,
                options=get_sender_options(
                    patience=timedelta(seconds=patience if until_drained else 0),
                    lease=timedelta(seconds=lease_seconds) if lease_seconds else None,
                ),
                clock=timezone.now,
            )
            expected = select_sendable(timezone.now()).count()
            for _ in self.track(_each_event(results, total), description="meter events sent", total=expected):
                pass
        self._report(total, until_drained)

    def _report(self, total: SendResult, until_drained: bool) -> None:
        line = ", ".join(f"{name} {count}" for name, count in total.as_dict().items())
        self.stdout.write(f"{line}{f' ({total.cause})' if total.cause else ''}")
        states = count_events_by_state()
        self.stdout.write(
            "held: " + (", ".join(f"{n} {state}" for state, n in sorted(states.items())) or "none")
        )
        waiting = MeterEvent.objects.filter(
            state__in=[EventState.PENDING, EventState.SENDING, EventState.UNRESOLVED], lane__isnull=False
        )
        # What waits for a true-up is not the sender's to send.
        left = waiting.exclude(billed_for_event(), state=EventState.PENDING).count()
        if until_drained and (left or total.rejected or total.expired):
            raise CommandError(
                f"not drained: {left} left to send, {total.rejected} rejected, {total.expired} expired"
                f"{f'; {total.cause}' if total.cause else ''}",
                returncode=2,
            )


def _each_event(results: Iterator[SendResult], total: SendResult) -> Iterator[None]:
    """One step of progress for each event that Stripe counted; adds the batches up in `total`."""
    for result in results:
        total.reported += result.reported
        total.retried += result.retried
        total.rejected += result.rejected
        total.expired += result.expired
        total.skipped = result.skipped
        total.cause = result.cause
        yield from (None for _ in range(result.reported))
