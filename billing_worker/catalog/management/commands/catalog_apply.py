"""`manage.py catalog_apply`: create or adopt the meters, products and prices that the plans need."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.utils import timezone

from billing_worker.catalog.management.commands.catalog_plan import add_at_argument, describe_plan
from billing_worker.catalog.services import apply_catalog
from billing_worker.commands import BillingCommand


class Command(BillingCommand):
    help = "Carry out catalog_plan. Safe to run again, also after it was interrupted. Exit 2 on a conflict."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_at_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        plan = apply_catalog(
            at=options["at"] or timezone.now().date(),
            progress=lambda changes: self.track(changes, description="Applying the catalog"),
        )
        self.stdout.write(describe_plan(plan))
