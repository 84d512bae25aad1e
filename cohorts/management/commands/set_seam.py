"""Set the seam of accounts or of a cohort."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from billing_worker.core.errors import InvalidInput
from cohorts.selectors import get_cohort
from metering.config import get_seam
from metering.console.seam_form import describe_change
from metering.services.arming import KEEP, SeamChange, change_seam, reset_seam
from metering.services.seam import parse_bound


class Command(BillingCommand):
    help = "Say for accounts, or for every member of a cohort, whether meter events are sent and from when on"

    def add_arguments(self, parser: CommandParser) -> None:
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--accounts", help="Account ids, comma separated.")
        whose.add_argument("--cohort", help="The name of a cohort: its members of today.")
        parser.add_argument(
            "--shadow",
            choices=["on", "off"],
            help="on: compute and send nothing. Left out, it stays as it is.",
        )
        parser.add_argument(
            "--bill-from",
            help="First day that is sent, like 2026-10-05, or `start`. Left out, it stays as it is.",
        )
        parser.add_argument(
            "--default",
            action="store_true",
            help="Remove the accounts' own setting: the environment's SHADOW and BILL_FROM hold again.",
        )
        parser.add_argument("--reason", required=True, help="Why; kept in the audit trail.")

    def handle(self, *args: Any, **options: Any) -> None:
        given = [name for name in ("shadow", "bill_from") if options[name] is not None]
        if options["default"] and given:
            raise InvalidInput("--default removes both switches: leave --shadow and --bill-from out")
        if not options["default"] and not given:
            raise InvalidInput("nothing to change: give --shadow, --bill-from, both, or --default")
        ids = _parse_ids(options["accounts"]) if options["accounts"] else _list_members(options["cohort"])
        change = self._remove(ids, options) if options["default"] else self._change(ids, options)
        self.stdout.write(describe_change(change))

    def _remove(self, ids: list[int], options: dict[str, Any]) -> SeamChange:
        return reset_seam(
            account_ids=ids,
            default=get_seam(),
            actor="command:set_seam",
            reason=options["reason"],
            now=timezone.now(),
        )

    def _change(self, ids: list[int], options: dict[str, Any]) -> SeamChange:
        text = options["bill_from"]
        return change_seam(
            account_ids=ids,
            default=get_seam(),
            shadow=KEEP if options["shadow"] is None else options["shadow"] == "on",
            bill_from=KEEP
            if text is None
            else None
            if text == "start"
            else parse_bound(text, name="--bill-from"),
            actor="command:set_seam",
            reason=options["reason"],
            now=timezone.now(),
        )


def _parse_ids(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    bad = [part for part in parts if not (part.isascii() and part.isdigit() and len(part) < 18)]
    if bad or not parts:
        raise InvalidInput(f"--accounts takes account ids, not {', '.join(bad) or 'nothing'}")
    return [int(part) for part in parts]


def _list_members(name: str) -> list[int]:
    ids = list(get_cohort(name).members.order_by("account_id").values_list("account_id", flat=True))
    if not ids:
        raise InvalidInput(f"cohort {name} has no members")
    return ids
