"""`manage.py catalog_plan`: how Stripe's meters, products and prices differ from what the plans need."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import date
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from billing_worker.catalog.plan import CatalogPlan
from billing_worker.catalog.services import plan_catalog
from billing_worker.commands import BillingCommand


def add_at_argument(parser: ArgumentParser) -> None:
    """`--at`: a day; the terms of its month and of the next one count."""
    parser.add_argument(
        "--at",
        type=date.fromisoformat,
        default=None,
        metavar="YYYY-MM-DD",
        help="Plan for the month of this day and the next one (default: today).",
    )


def describe_plan(plan: CatalogPlan) -> str:
    """The lines that a person reads before applying."""
    lines = [f"+ {change}" for change in plan.changes]
    lines += [f"! {conflict}" for conflict in plan.conflicts]
    lines += [f"  no plan needs price {key} any more; it stays" for key in plan.unused]
    lines.append(
        f"{len(plan.changes)} change(s), {len(plan.conflicts)} conflict(s), {plan.unchanged} in place"
    )
    return "\n".join(lines)


class Command(BillingCommand):
    help = (
        "Show what catalog_apply would do at Stripe. Exit 0; with --check, exit 1 if there is anything to do."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_at_argument(parser)
        parser.add_argument("--check", action="store_true", help="Exit 1 if there are changes or conflicts.")

    def handle(self, *args: Any, **options: Any) -> None:
        plan = plan_catalog(at=options["at"] or timezone.now().date())
        self.stdout.write(describe_plan(plan))
        if options["check"] and (plan.changes or plan.conflicts):
            raise CommandError("Stripe's catalog is not what the plans need: run catalog_apply", returncode=1)
