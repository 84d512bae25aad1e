"""`manage.py define_sampled_meter`: a new meter that is an integral over time."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.utils import timezone

from billing_worker.catalog.sampled.price_text import parse_tiers
from billing_worker.catalog.sampled.services import define_sampled_meter
from billing_worker.catalog.sampled.states import BillingMode, BucketLength, SampledQuantity
from billing_worker.commands import BillingCommand
from billing_worker.core.errors import InvalidInput


class Command(BillingCommand):
    help = "Define a sampled meter, its plan tiers and their prices. catalog_apply then makes them at Stripe."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="As samples name it, like gb_seconds.")
        parser.add_argument("--title", required=True, help="As invoices name it.")
        parser.add_argument("--quantity", required=True, choices=SampledQuantity.values)
        parser.add_argument("--bucket", default=BucketLength.HOUR.value, choices=BucketLength.values)
        parser.add_argument(
            "--tier",
            action="append",
            required=True,
            metavar="NAME[=CURRENCY:RATE,...]",
            help="A plan tier with minor units per unit: pro=usd:0.0015,eur:0.0014. Give it for each tier.",
        )
        parser.add_argument(
            "--unified", action="store_true", help="One meter for everybody; --tier all=usd:0.0015."
        )
        parser.add_argument("--reason", required=True, help="Why; kept in the audit trail.")

    def handle(self, *args: Any, **options: Any) -> None:
        tiers = parse_tiers(options["tier"])
        if options["unified"]:
            if len(tiers) != 1:
                raise InvalidInput("a unified meter has one tier")
            tiers = {"": next(iter(tiers.values()))}
        meter = define_sampled_meter(
            name=options["name"],
            title=options["title"],
            quantity=SampledQuantity(options["quantity"]),
            billing_mode=BillingMode.UNIFIED if options["unified"] else BillingMode.PER_TIER,
            bucket=BucketLength(options["bucket"]),
            tiers=tiers,
            actor="command:define_sampled_meter",
            reason=options["reason"],
            now=timezone.now(),
        )
        names = ", ".join(meter.tiers.values_list("event_name", flat=True))
        self.stdout.write(f"{meter.name} is defined ({names}): run catalog_apply")
