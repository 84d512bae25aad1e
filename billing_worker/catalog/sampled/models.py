"""Our own records of sampled meters. `catalog.sampled.services` is the only writer; every change is audited."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from billing_worker.accounts.models import Account
from billing_worker.catalog.sampled.states import UNITS, BillingMode, BucketLength, SampledQuantity


class SampledMeter(models.Model):
    """A meter that is an integral over time. What it measures and how never changes: samples were stored by it."""

    name = models.CharField(max_length=20, unique=True, help_text="As samples name it, like gb_seconds.")
    title = models.CharField(max_length=60, help_text="As invoices name it, like GB-seconds.")
    quantity = models.CharField(max_length=12, choices=SampledQuantity.choices)
    billing_mode = models.CharField(max_length=8, choices=BillingMode.choices)
    bucket = models.CharField(max_length=4, choices=BucketLength.choices)
    created_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(name__regex=r"^[a-z][a-z0-9_]{0,19}$"), name="sampled_meter_name_is_plain"
            ),
            models.CheckConstraint(
                condition=Q(quantity__in=SampledQuantity.values)
                & Q(billing_mode__in=BillingMode.values)
                & Q(bucket__in=BucketLength.values),
                name="sampled_meter_kinds_known",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def units_per_billed(self) -> int:
        """How many of the smallest units make one billed unit."""
        return UNITS[self.quantity]


class SampledTier(models.Model):
    """One Stripe meter of a sampled meter: a plan tier's own, or the only one (`name` empty) where it is unified."""

    meter = models.ForeignKey(SampledMeter, on_delete=models.PROTECT, related_name="tiers", db_index=False)
    name = models.CharField(max_length=19, blank=True, help_text="The plan tier; empty if unified.")
    event_name = models.CharField(max_length=40, unique=True, help_text="Stripe's event name.")

    class Meta:
        ordering: ClassVar = ["event_name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["meter", "name"], name="sampled_tier_one_per_name"),
        ]

    def __str__(self) -> str:
        return self.event_name

    @property
    def title(self) -> str:
        """As invoices name it: `GB-seconds (pro)`."""
        return f"{self.meter.title} ({self.name})" if self.name else self.meter.title


class SampledPrice(models.Model):
    """What a tier's units cost in a currency. Never changed: customers were told it. A new price is a new tier."""

    tier = models.ForeignKey(SampledTier, on_delete=models.PROTECT, related_name="prices", db_index=False)
    currency = models.CharField(max_length=3, help_text="ISO 4217, lower case.")
    tiers = models.JSONField(
        help_text='[{"up_to": 1000 | null, "unit_amount_decimal": "0.25"}], inclusive bounds, minor units per unit.'
    )

    class Meta:
        ordering: ClassVar = ["tier", "currency"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tier", "currency"], name="sampled_price_one_per_currency"),
            models.CheckConstraint(
                condition=Q(currency__regex=r"^[a-z]{3}$"), name="sampled_price_currency_lower_iso"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tier_id} {self.currency}"


class SampledPlan(models.Model):
    """From `from_period` on the account's samples of the meter go to this tier; until a later row says otherwise."""

    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="sampled_plans", db_index=False
    )
    meter = models.ForeignKey(SampledMeter, on_delete=models.PROTECT, related_name="plans")
    tier = models.ForeignKey(
        SampledTier, on_delete=models.PROTECT, related_name="plans", null=True, blank=True,
        help_text="Empty: samples are refused from then on.",
    )  # fmt: skip
    from_period = models.CharField(max_length=7, help_text="First calendar month in UTC, like 2026-10.")

    class Meta:
        ordering: ClassVar = ["account_id", "meter_id", "from_period"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account", "meter", "from_period"], name="sampled_plan_one_per_start"
            ),
            models.CheckConstraint(
                condition=Q(from_period__regex=r"^[0-9]{4}-[0-9]{2}$"), name="sampled_plan_period_is_month"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} {self.meter_id} from {self.from_period}: {self.tier_id or 'none'}"
