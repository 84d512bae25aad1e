"""What we created (or adopted) at Stripe, by the names that we look it up with. `catalog_apply` is the only writer."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from billing_worker.catalog.sampled.models import SampledMeter as SampledMeter
from billing_worker.catalog.sampled.models import SampledPlan as SampledPlan
from billing_worker.catalog.sampled.models import SampledPrice as SampledPrice
from billing_worker.catalog.sampled.models import SampledTier as SampledTier
from billing_worker.catalog.states import SAMPLED, PriceKind


class CatalogMeter(models.Model):
    """A Stripe meter; one for each usage type and for each tier of a sampled meter."""

    usage_type = models.CharField(
        max_length=40, unique=True, help_text="ST, RM, CV, or a sampled meter's event name."
    )
    event_name = models.CharField(max_length=100, unique=True)
    stripe_meter_id = models.CharField(max_length=64, unique=True)

    class Meta:
        ordering: ClassVar = ["usage_type"]

    def __str__(self) -> str:
        return f"{self.event_name} ({self.stripe_meter_id})"


class CatalogProduct(models.Model):
    """A Stripe product; one for each kind of invoice line and for each tier of a sampled meter."""

    kind = models.CharField(
        max_length=40, unique=True, help_text="The kind of line, or a sampled meter's event name."
    )
    name = models.CharField(max_length=250)
    stripe_product_id = models.CharField(max_length=64, unique=True)

    class Meta:
        ordering: ClassVar = ["kind"]

    def __str__(self) -> str:
        return f"{self.name} ({self.stripe_product_id})"


class CatalogPrice(models.Model):
    """A Stripe price: licensed (a flat fee, `unit_amount_decimal`) or graduated on a meter (`tiers`)."""

    lookup_key = models.CharField(max_length=200, unique=True)
    kind = models.CharField(max_length=8, choices=[*PriceKind.choices, (SAMPLED, "Sampled meter")])
    currency = models.CharField(max_length=3, help_text="ISO 4217, lower case.")
    unit_amount_decimal = models.DecimalField(
        max_digits=24,
        decimal_places=12,
        null=True,
        blank=True,
        help_text="Minor units a month; empty for tiers.",
    )
    tiers = models.JSONField(
        default=list,
        blank=True,
        help_text='[{"up_to": 1000 | null, "unit_amount_decimal": "0.25"}], inclusive bounds, minor units per unit.',
    )
    stripe_price_id = models.CharField(max_length=64, unique=True)

    class Meta:
        ordering: ClassVar = ["kind", "currency", "lookup_key"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(kind="sub", unit_amount_decimal__isnull=False)
                | (~Q(kind="sub") & Q(unit_amount_decimal__isnull=True)),
                name="catalog_price_flat_has_amount",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.lookup_key} ({self.stripe_price_id})"
