"""Change who is in a draft cohort."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from billing_worker.core.errors import InvalidInput
from cohorts.parsing import parse_account_ids
from cohorts.selectors import get_cohort
from cohorts.services import change_members


class Command(BillingCommand):
    help = "Add accounts to a draft cohort or take some out, each with all who share its invoice"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("cohort", help="The cohort's name.")
        parser.add_argument("--add", default="", help="Account ids, comma separated.")
        parser.add_argument("--remove", default="", help="Account ids, comma separated.")
        parser.add_argument("--reason", default="", help="Why; kept in the audit trail.")

    def handle(self, *args: Any, **options: Any) -> None:
        add = parse_account_ids(options["add"], name="--add")
        remove = parse_account_ids(options["remove"], name="--remove")
        if not add and not remove:
            raise InvalidInput("nothing to change: give --add, --remove, or both")
        cohort = change_members(
            cohort_id=get_cohort(options["cohort"]).pk,
            add=add,
            remove=remove,
            actor="command:edit_cohort",
            reason=options["reason"],
            now=timezone.now(),
        )
        self.stdout.write(f"cohort {cohort.name}: {cohort.members.count()} accounts, {cohort.state}")
