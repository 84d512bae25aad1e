"""Let customers at Stripe follow their accounts."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from billing_worker.accounts.selectors import get_account, get_billing_account
from billing_worker.commands import BillingCommand
from billing_worker.customers.comparing import FIELDS
from billing_worker.customers.models import CustomerSync
from billing_worker.customers.services import Outcome, SyncResult
from cohorts.selectors import get_cohort
from cohorts.services import sync_customers

_OUTCOMES: Final[tuple[Outcome, ...]] = (
    "changed",
    "planned",
    "differs",
    "refused",
    "waiting",
    "failed",
    "unchanged",
)


class Command(BillingCommand):
    help = (
        "Write name, e-mail, address, language and tax id of provisioned accounts to their customers at Stripe. What "
        "was changed there is told and left as it is. Safe to repeat; exit code 2 if something was refused or failed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--cohort", help="Only its members. Default: every provisioned account.")
        parser.add_argument(
            "--account", type=int, action="append", help="Only this account. May be repeated."
        )
        parser.add_argument(
            "--due", action="store_true", help="Only those that the hourly run would look at now."
        )
        parser.add_argument(
            "--overwrite", choices=FIELDS, action="append", default=[],
            help="Write this field although it was changed at Stripe. May be repeated.",
        )  # fmt: skip
        parser.add_argument(
            "--dry-run", action="store_true", help="Say what would change, and change nothing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["cohort"]
        results = sync_customers(
            cohort_id=get_cohort(name).pk if name else None,
            account_ids=options["account"],
            only_due=options["due"],
            is_dry_run=options["dry_run"],
            overwrite=options["overwrite"],
            actor="command:sync_customers",
            now=timezone.now(),
            track=lambda rows: self.track(rows, description="Comparing customers"),
        )
        self._explain_absent(options["account"] or [], results)
        for result in results:
            if result.detail:
                self.stdout.write(f"account {result.account_id}: {result.outcome}: {result.detail}")
        counts = Counter(result.outcome for result in results)
        self.stdout.write(
            ", ".join(
                f"{counts[outcome]} {outcome}"
                for outcome in _OUTCOMES
                if counts[outcome] or outcome in ("changed", "unchanged")
            )
        )
        if counts["failed"] or counts["refused"]:
            raise CommandError("some customers could not be brought in step: see above", returncode=2)

    def _explain_absent(self, asked: list[int], results: list[SyncResult]) -> None:
        """Why an account that was asked for is not among the results.

        Raises:
            UnknownAccount: it does not exist.
        """
        seen = {result.account_id for result in results}
        for account_id in asked:
            if account_id in seen:
                continue
            account = get_account(account_id)
            payer = get_billing_account(account)
            if payer != account and payer.stripe_customer_id:
                reason = f"bills through {payer.pk}: it has no customer of its own"
            elif CustomerSync.objects.filter(account=account).exists():
                reason = "has not changed since its customer was looked at"
            else:
                reason = "is not provisioned: its customer, if it has one, is left alone"
            self.stdout.write(f"account {account_id} {reason}")
