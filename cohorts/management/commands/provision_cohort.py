"""Set a cohort's customers and subscriptions up at Stripe."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from billing_worker.core.errors import NotAllowed
from billing_worker.core.periods import Period
from cohorts.selectors import get_cohort
from cohorts.services import ProvisioningOptions, provision_cohort


class Command(BillingCommand):
    help = "Create customers and subscriptions for a draft cohort, to bill from --period on. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("cohort")
        parser.add_argument("--period", required=True, help="First month that Stripe bills, like 2026-10.")
        parser.add_argument(
            "--collection", choices=["charge_automatically", "send_invoice"], default="charge_automatically"
        )
        parser.add_argument("--days-until-due", type=int, default=30, help="With --collection send_invoice.")
        parser.add_argument(
            "--test-clocks", action="store_true", help="Test mode: customers live on test clocks."
        )
        parser.add_argument("--test-payment-method", help="Test mode: attach this one, like pm_card_visa.")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.STRIPE_LIVE_MODE and (options["test_clocks"] or options["test_payment_method"]):
            raise NotAllowed("--test-clocks and --test-payment-method need a test key; this is a live one")
        cohort = provision_cohort(
            cohort_id=get_cohort(options["cohort"]).pk,
            period=Period.parse(options["period"]),
            options=ProvisioningOptions(
                collection_method=options["collection"],
                days_until_due=options["days_until_due"],
                use_test_clocks=options["test_clocks"],
                test_payment_method=options["test_payment_method"],
            ),
            actor="command:provision_cohort",
            now=timezone.now(),
            track=lambda payers: self.track(payers, description=f"Provisioning {options['cohort']}"),
        )
        self.stdout.write(
            f"cohort {cohort.name}: {cohort.members.count()} accounts provisioned from {cohort.dual_run_period}"
        )
