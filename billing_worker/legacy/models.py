"""The old billing service's tables as they are: unmanaged, read only, never migrated.

Amounts are decimal major units (dollars) of the account's currency, times are naive UTC in the database and aware UTC
here. If a site names a column differently, change `db_column` here and nothing else.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class LegacyAccount(models.Model):
    """A customer. A child without its own `stripe_customer_id` bills through its parent."""

    acct_id = models.IntegerField(primary_key=True)
    name = models.CharField(max_length=200)
    status = models.CharField(max_length=16)
    billing_email = models.CharField(max_length=254)
    billing_cc = models.CharField(max_length=500, null=True)  # noqa: DJ001 (their column)
    address_line1 = models.CharField(max_length=200)
    address_line2 = models.CharField(max_length=200, null=True)  # noqa: DJ001
    address_city = models.CharField(max_length=100)
    address_state = models.CharField(max_length=100, null=True)  # noqa: DJ001
    address_postal_code = models.CharField(max_length=20)
    address_country = models.CharField(max_length=2)
    currency = models.CharField(max_length=3)
    parent_acct_id = models.IntegerField(null=True)
    stripe_customer_id = models.CharField(max_length=64, null=True)  # noqa: DJ001
    created_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "account"
        ordering: ClassVar = ["acct_id"]


class LegacyPlanSub(models.Model):
    """The monthly flat fee in force for the half-open days `[effective_from, effective_to)`."""

    id = models.IntegerField(primary_key=True)
    acct_id = models.IntegerField()
    plan_name = models.CharField(max_length=100)
    sub_rate = models.DecimalField(max_digits=12, decimal_places=2)
    effective_from = models.DateField()
    effective_to = models.DateField(null=True)

    class Meta:
        managed = False
        db_table = "account_plan_sub"
        ordering: ClassVar = ["id"]


class LegacyPlanUsage(models.Model):
    """One graduated tier: `rate` is dollars per 1,000 impressions; `tier_to` is an exclusive count, NULL = no end."""

    id = models.IntegerField(primary_key=True)
    acct_id = models.IntegerField()
    usage_type = models.CharField(max_length=2)
    tier_from = models.BigIntegerField()
    tier_to = models.BigIntegerField(null=True)
    rate = models.DecimalField(max_digits=12, decimal_places=6)
    effective_from = models.DateField()
    effective_to = models.DateField(null=True)

    class Meta:
        managed = False
        db_table = "account_plan_usage"
        ordering: ClassVar = ["id"]


class LegacyInvoice(models.Model):
    """An invoice of the old service. A period can hold more than one for an account."""

    inv_id = models.BigIntegerField(primary_key=True)
    inv_uuid = models.CharField(max_length=36)
    acct_id = models.IntegerField()
    period = models.CharField(max_length=7)
    invoice_no = models.CharField(max_length=40)
    status = models.CharField(max_length=16)
    currency = models.CharField(max_length=3)
    subtotal = models.DecimalField(max_digits=12, decimal_places=2)
    tax = models.DecimalField(max_digits=12, decimal_places=2)
    total = models.DecimalField(max_digits=12, decimal_places=2)
    issued_at = models.DateTimeField()
    paid_at = models.DateTimeField(null=True)
    stripe_invoice_id = models.CharField(max_length=64, null=True)  # noqa: DJ001
    pdf_url = models.CharField(max_length=500, null=True)  # noqa: DJ001

    class Meta:
        managed = False
        db_table = "billing_invoice"
        ordering: ClassVar = ["inv_id"]


class LegacyInvoiceLine(models.Model):
    """What explains an invoice's total; `unit_rate` is per 1,000 for usage, else the full price."""

    id = models.BigIntegerField(primary_key=True)
    inv_id = models.BigIntegerField()
    kind = models.CharField(max_length=16)
    description = models.CharField(max_length=500)
    quantity = models.BigIntegerField()
    unit_rate = models.DecimalField(max_digits=12, decimal_places=6)
    amount = models.DecimalField(max_digits=12, decimal_places=2)

    class Meta:
        managed = False
        db_table = "billing_invoice_line"
        ordering: ClassVar = ["id"]


class LegacyManagedJob(models.Model):
    """A managed-service job with its exact amount."""

    job_id = models.IntegerField(primary_key=True)
    acct_id = models.IntegerField()
    title = models.CharField(max_length=200)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    status = models.CharField(max_length=16)
    completed_at = models.DateTimeField(null=True)
    billed_inv_id = models.BigIntegerField(null=True)

    class Meta:
        managed = False
        db_table = "managed_service_job"
        ordering: ClassVar = ["job_id"]


LEGACY_MODELS: tuple[type[models.Model], ...] = (
    LegacyAccount,
    LegacyPlanSub,
    LegacyPlanUsage,
    LegacyInvoice,
    LegacyInvoiceLine,
    LegacyManagedJob,
)
