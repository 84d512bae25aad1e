"""Accounts, the plan they were imported with, and who bills them."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from rest_framework_api_key.models import AbstractAPIKey

from billing_worker.accounts.locales import LOCALE_CHOICES
from billing_worker.accounts.states import AccountStatus, Biller, InvoiceFormat, JobSource, JobStatus

#: Ids of requested jobs begin here; the old service counts up from 1 and never gets this far.
FIRST_REQUESTED_JOB = 2**52


class TestClock(models.Model):
    """A Stripe test clock that some of our (test mode) customers live on: their time, not ours."""

    __test__ = False

    stripe_test_clock_id = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=200, blank=True)
    frozen_at = models.DateTimeField(help_text="The clock's present instant, as Stripe last told it.")
    is_ready = models.BooleanField(default=True, help_text="False while Stripe is advancing it.")

    class Meta:
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return f"{self.name or self.stripe_test_clock_id} at {self.frozen_at:%Y-%m-%d %H:%M}"


class Account(models.Model):
    """A customer of the company. The key is the old service's `acct_id`, so that both sides name it alike."""

    id = models.BigIntegerField(primary_key=True, help_text="The old service's acct_id.")
    name = models.CharField(max_length=255)
    status = models.CharField(max_length=16, choices=AccountStatus.choices)
    billing_email = models.EmailField(max_length=254, blank=True)
    billing_cc = models.CharField(
        max_length=1000, blank=True, help_text="Further recipients, comma separated."
    )
    address_line1 = models.CharField(max_length=255, blank=True)
    address_line2 = models.CharField(max_length=255, blank=True)
    address_city = models.CharField(max_length=120, blank=True)
    address_state = models.CharField(max_length=120, blank=True)
    address_postal_code = models.CharField(max_length=32, blank=True)
    address_country = models.CharField(max_length=2, blank=True, help_text="ISO 3166-1 alpha-2, upper case.")
    currency = models.CharField(max_length=3, help_text="ISO 4217, lower case.")
    locale = models.CharField(
        max_length=8,
        blank=True,
        default="",
        db_default="",
        choices=LOCALE_CHOICES,
        help_text="What its invoices and mails are written in. Empty: by the country.",
    )
    invoice_format = models.CharField(
        max_length=8, choices=InvoiceFormat.choices, default=InvoiceFormat.PDF, db_default=InvoiceFormat.PDF
    )
    tax_id_type = models.CharField(
        max_length=16,
        blank=True,
        default="",
        db_default="",
        help_text="Stripe's name of the kind, like eu_vat.",
    )
    tax_id_value = models.CharField(
        max_length=40, blank=True, default="", db_default="", help_text="As printed, like DE123456789."
    )
    parent = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="children"
    )
    stripe_customer_id = models.CharField(max_length=64, unique=True, null=True, blank=True)
    test_clock = models.ForeignKey(
        TestClock, on_delete=models.SET_NULL, null=True, blank=True, related_name="accounts"
    )
    opened_at = models.DateTimeField(help_text="When the old service created it (UTC).")
    closed_at = models.DateTimeField(null=True, blank=True, help_text="When it was first seen closed.")
    imported_at = models.DateTimeField(help_text="When the import last changed or confirmed this row.")

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(currency__regex=r"^[a-z]{3}$"), name="account_currency_lower_iso"
            ),
            models.CheckConstraint(condition=~Q(parent=models.F("id")), name="account_not_its_own_parent"),
            models.CheckConstraint(
                condition=Q(tax_id_type="", tax_id_value="") | ~Q(tax_id_type="") & ~Q(tax_id_value=""),
                name="account_tax_id_has_type",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.pk})"


class AccountPlan(models.Model):
    """The flat monthly fee in force for `[effective_from, effective_to)`. No row means no flat fee."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="plans")
    plan_name = models.CharField(max_length=120)
    unit_amount_decimal = models.DecimalField(
        max_digits=24, decimal_places=12, help_text="Minor units of the account's currency a month."
    )
    effective_from = models.DateField()
    effective_to = models.DateField(null=True, blank=True, help_text="Exclusive; empty = no end.")

    class Meta:
        ordering: ClassVar = ["account_id", "effective_from"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "effective_from"], name="account_plan_one_per_start"),
            models.CheckConstraint(
                condition=Q(effective_to__isnull=True) | Q(effective_to__gt=models.F("effective_from")),
                name="account_plan_dates_ascend",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.plan_name} from {self.effective_from}"


class AccountTier(models.Model):
    """One step of a graduated usage price in force for `[effective_from, effective_to)`."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="tiers")
    usage_type = models.CharField(max_length=2, choices=[("ST", "ST"), ("RM", "RM"), ("CV", "CV")])
    tier_from = models.BigIntegerField(help_text="Units before this tier begins (exclusive).")
    tier_to = models.BigIntegerField(
        null=True, blank=True, help_text="Last unit in this tier (inclusive); empty = no end."
    )
    unit_amount_decimal = models.DecimalField(
        max_digits=24, decimal_places=12, help_text="Minor units per impression."
    )
    effective_from = models.DateField()
    effective_to = models.DateField(null=True, blank=True, help_text="Exclusive; empty = no end.")

    class Meta:
        ordering: ClassVar = ["account_id", "usage_type", "effective_from", "tier_from"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account", "usage_type", "effective_from", "tier_from"],
                name="account_tier_one_per_bound",
            ),
            models.CheckConstraint(
                condition=Q(tier_to__isnull=True) | Q(tier_to__gt=models.F("tier_from")),
                name="account_tier_bounds_ascend",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.usage_type} {self.tier_from}-{self.tier_to or 'inf'} from {self.effective_from}"


class ManagedJob(models.Model):
    """A managed-service job, billed once with its exact amount: the old service's row, or a request over our API."""

    id = models.BigIntegerField(
        primary_key=True, help_text=f"The old service's job_id; from {FIRST_REQUESTED_JOB} on they are ours."
    )
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="managed_jobs")
    title = models.CharField(max_length=255)
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    status = models.CharField(max_length=8, choices=JobStatus.choices)
    completed_at = models.DateTimeField(null=True, blank=True)
    source = models.CharField(
        max_length=8, choices=JobSource.choices, default=JobSource.LEGACY, db_default=JobSource.LEGACY
    )
    reference = models.CharField(
        max_length=64,
        unique=True,
        null=True,
        blank=True,
        help_text="The requester's own id; the same id is the same job.",
    )
    requested_by = models.CharField(max_length=150, blank=True, default="", db_default="")
    requested_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(source=JobSource.LEGACY, reference__isnull=True, id__lt=FIRST_REQUESTED_JOB)
                | Q(source=JobSource.REQUEST, reference__isnull=False, id__gte=FIRST_REQUESTED_JOB),
                name="managed_job_request_has_reference",
            ),
            models.CheckConstraint(
                condition=Q(status=JobStatus.OPEN) | Q(completed_at__isnull=False),
                name="managed_job_done_has_date",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.title} ({self.pk})"


class BillingLease(models.Model):
    """Which side bills an account for a period. Both sides read it; `set_biller` is the only writer."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="leases")
    period = models.CharField(max_length=7, help_text="Calendar month in UTC, like 2026-10.")
    biller = models.CharField(max_length=8, choices=Biller.choices)
    changed_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["period", "account_id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "period"], name="billing_lease_one_side_per_period"),
            models.CheckConstraint(
                condition=Q(period__regex=r"^[0-9]{4}-[0-9]{2}$"), name="billing_lease_period_is_month"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} {self.period}: {self.biller}"


class AuditEntry(models.Model):
    """Who changed what, when and why. Written by `record_audit`; never changed, never deleted."""

    at = models.DateTimeField()
    actor = models.CharField(max_length=150, help_text="User name, service key or command.")
    action = models.CharField(max_length=80, help_text="Dotted verb, like cohort.signed_off.")
    subject_type = models.CharField(max_length=40)
    subject_id = models.CharField(max_length=64)
    reason = models.TextField(blank=True)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)

    class Meta:
        ordering: ClassVar = ["-pk"]
        verbose_name_plural = "audit entries"
        indexes: ClassVar = [models.Index(fields=["subject_type", "subject_id"], name="audit_subject")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.actor}: {self.action} {self.subject_type} {self.subject_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert only: an audit entry that could be edited would prove nothing."""
        kwargs["force_insert"] = True
        super().save(*args, **kwargs)


class ServiceKey(AbstractAPIKey):
    """An API key of another service, shown once at creation and stored as a hash."""

    scopes = models.JSONField(default=list, help_text='List of scopes, like ["usage:write"].')
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)

    class Meta(AbstractAPIKey.Meta):
        verbose_name = "service key"
        verbose_name_plural = "service keys"
