"""`manage.py set_sampled_plan`: which tier of a sampled meter accounts are on."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.db import transaction
from django.utils import timezone

from billing_worker.catalog.sampled.selectors import get_sampled_meter
from billing_worker.catalog.sampled.services import set_sampled_plan
from billing_worker.catalog.sampled.states import BillingMode
from billing_worker.commands import BillingCommand
from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period


class Command(BillingCommand):
    help = "Say on which tier of a sampled meter accounts are from a month on; all of them or none."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--accounts", required=True, help="Account ids, comma separated.")
        parser.add_argument("--meter", required=True)
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--tier", help="The plan tier; of a unified meter: all.")
        what.add_argument("--none", action="store_true", help="Refuse samples from then on.")
        parser.add_argument("--from", dest="period", type=Period.parse, required=True, metavar="2026-10")
        parser.add_argument("--reason", required=True, help="Why; kept in the audit trail.")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        parts = [part.strip() for part in options["accounts"].split(",") if part.strip()]
        if not parts or not all(part.isascii() and part.isdigit() and len(part) < 18 for part in parts):
            raise InvalidInput("--accounts takes account ids")
        meter = get_sampled_meter(options["meter"])
        is_whole = meter.billing_mode == BillingMode.UNIFIED and options["tier"] == "all"
        for part in parts:
            set_sampled_plan(
                account_id=int(part),
                meter=meter.name,
                tier="" if is_whole else options["tier"],
                from_period=options["period"],
                actor="command:set_sampled_plan",
                reason=options["reason"],
                now=timezone.now(),
            )
        self.stdout.write(
            f"{len(parts)} accounts on {meter.name} {options['tier'] or 'none'} from {options['period']}"
        )
