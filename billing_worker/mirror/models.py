"""Our projections of Stripe's objects: indexed, typed, complete to the last line. dj-stripe's models keep the raw JSON.

`last_event_at` is Stripe's time of the newest event that a row has seen: the guard against events in the wrong order.
`version` counts the writes: what was read from Stripe is only written if nothing else was since (see `services`).
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from billing_worker.accounts.models import Account
from billing_worker.mirror.states import LineKind


class StripeInvoice(models.Model):
    """An invoice as Stripe last described it. `status` is Stripe's word."""

    stripe_invoice_id = models.CharField(max_length=64, unique=True)
    account = models.ForeignKey(
        Account,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="stripe_invoices",
        help_text="The payer. Empty: a customer that is not ours.",
    )
    customer = models.CharField(max_length=64, db_index=True)
    number = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=16)
    currency = models.CharField(max_length=3)
    subtotal_minor = models.BigIntegerField()
    total_minor = models.BigIntegerField()
    total_tax_minor = models.BigIntegerField(default=0)
    inclusive_tax_minor = models.BigIntegerField(
        default=0, db_default=0, help_text="The part of all taxes that is inside the prices of the lines."
    )
    total_excluding_tax_minor = models.BigIntegerField(
        null=True, blank=True, help_text="Stripe's total without any tax; empty: not told."
    )
    total_discount_minor = models.BigIntegerField(default=0)
    amount_due_minor = models.BigIntegerField()
    amount_paid_minor = models.BigIntegerField()
    amount_remaining_minor = models.BigIntegerField()
    starting_balance_minor = models.BigIntegerField(default=0)
    ending_balance_minor = models.BigIntegerField(null=True, blank=True)
    billing_reason = models.CharField(max_length=64, blank=True)
    collection_method = models.CharField(max_length=32, blank=True)
    auto_advance = models.BooleanField(default=False)
    attempt_count = models.PositiveIntegerField(default=0)
    subscription = models.CharField(max_length=64, blank=True)
    test_clock = models.CharField(max_length=64, blank=True)
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    created_at = models.DateTimeField()
    finalized_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    voided_at = models.DateTimeField(null=True, blank=True)
    next_payment_attempt_at = models.DateTimeField(null=True, blank=True)
    hosted_invoice_url = models.CharField(max_length=2000, blank=True)
    customer_details = models.JSONField(
        null=True,
        blank=True,
        help_text="`{name, email, address}` as Stripe copied them at finalization; null = not told.",
    )
    customer_tax_ids = models.JSONField(
        default=list, db_default=[], blank=True, help_text="`[{type, value}]` as Stripe printed them."
    )
    customer_tax_exempt = models.CharField(
        max_length=8,
        default="none",
        db_default="none",
        help_text="none, exempt or reverse (the customer owes the tax).",
    )
    metadata = models.JSONField(default=dict, blank=True)
    last_event_at = models.DateTimeField()
    version = models.PositiveIntegerField(default=0, editable=False)
    lines_complete = models.BooleanField(
        default=True, help_text="False: Stripe has lines that are not here (it could not be read again)."
    )

    class Meta:
        ordering: ClassVar = ["-created_at", "-pk"]
        indexes: ClassVar = [
            models.Index(fields=["status", "created_at"], name="invoice_status_created"),
            models.Index(fields=["number"], name="invoice_number"),
        ]

    def __str__(self) -> str:
        return self.number or self.stripe_invoice_id


class StripeInvoiceLine(models.Model):
    """One line. `[period_start, period_end)` is what it bills for, which decides the month it is reconciled in."""

    invoice = models.ForeignKey(StripeInvoice, on_delete=models.CASCADE, related_name="lines")
    stripe_line_id = models.CharField(max_length=64)
    position = models.PositiveIntegerField(help_text="Stripe's order, from 0.")
    kind = models.CharField(max_length=8, choices=LineKind.choices)
    account = models.ForeignKey(
        Account,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Whose line it is: the payer, or the child that a managed service was for.",
    )
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    quantity = models.BigIntegerField(null=True, blank=True)
    unit_amount_decimal = models.DecimalField(max_digits=24, decimal_places=12, null=True, blank=True)
    description = models.TextField(blank=True)
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    price = models.CharField(max_length=64, blank=True)
    product = models.CharField(max_length=64, blank=True)
    subscription = models.CharField(max_length=64, blank=True)
    subscription_item = models.CharField(max_length=64, blank=True)
    invoice_item = models.CharField(max_length=64, blank=True)
    is_proration = models.BooleanField(default=False)
    discount_minor = models.BigIntegerField(default=0)
    tax_minor = models.BigIntegerField(default=0)
    inclusive_tax_minor = models.BigIntegerField(
        default=0, db_default=0, help_text="The part of the tax that is inside the amount."
    )
    taxes = models.JSONField(
        default=list,
        db_default=[],
        blank=True,
        help_text="`[{amount_minor, taxable_minor, percentage, reason}]`, beside taxes in prices also `inclusive` and "
        "`rate`; null = not told.",
    )
    metadata = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering: ClassVar = ["invoice_id", "position"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["invoice", "stripe_line_id"], name="invoice_line_once_per_invoice"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["period_start", "kind"], name="invoice_line_period_kind")]

    def __str__(self) -> str:
        return f"{self.description or self.stripe_line_id}"


class StripeSubscription(models.Model):
    """A subscription as Stripe last described it. The current period is that of its first item."""

    stripe_subscription_id = models.CharField(max_length=64, unique=True)
    account = models.ForeignKey(
        Account, on_delete=models.PROTECT, null=True, blank=True, related_name="stripe_subscriptions"
    )
    customer = models.CharField(max_length=64, db_index=True)
    status = models.CharField(max_length=24)
    currency = models.CharField(max_length=3, blank=True)
    collection_method = models.CharField(max_length=32, blank=True)
    billing_cycle_anchor_at = models.DateTimeField(null=True, blank=True)
    current_period_start = models.DateTimeField(null=True, blank=True)
    current_period_end = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    cancel_at_period_end = models.BooleanField(default=False)
    cancel_at = models.DateTimeField(null=True, blank=True, help_text="When it will end, as planned.")
    canceled_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    test_clock = models.CharField(max_length=64, blank=True)
    items = models.JSONField(
        default=list, blank=True, help_text="`[{id, price, product, quantity, metadata}]` in Stripe's order."
    )
    metadata = models.JSONField(default=dict, blank=True)
    last_event_at = models.DateTimeField()
    version = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        ordering: ClassVar = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.stripe_subscription_id} ({self.status})"


class StripeCreditNote(models.Model):
    """A credit note. Its amounts are positive and reduce what its invoice asks for."""

    stripe_credit_note_id = models.CharField(max_length=64, unique=True)
    stripe_invoice_id = models.CharField(max_length=64, db_index=True)
    account = models.ForeignKey(
        Account, on_delete=models.PROTECT, null=True, blank=True, related_name="stripe_credit_notes"
    )
    customer = models.CharField(max_length=64, db_index=True)
    number = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=16)
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField()
    subtotal_minor = models.BigIntegerField()
    total_minor = models.BigIntegerField()
    total_tax_minor = models.BigIntegerField(default=0, db_default=0)
    inclusive_tax_minor = models.BigIntegerField(
        default=0, db_default=0, help_text="The part of all taxes that is inside the prices of the lines."
    )
    total_excluding_tax_minor = models.BigIntegerField(
        null=True, blank=True, help_text="Stripe's total without any tax; empty: not told."
    )
    total_discount_minor = models.BigIntegerField(default=0, db_default=0)
    pre_payment_minor = models.BigIntegerField(
        default=0, db_default=0, help_text="Reduced what was still due of the invoice."
    )
    post_payment_minor = models.BigIntegerField(
        default=0,
        db_default=0,
        help_text="Gives back what was paid: refunded, out of band, the rest as balance.",
    )
    refunded_minor = models.BigIntegerField(default=0, db_default=0)
    out_of_band_minor = models.BigIntegerField(default=0, db_default=0)
    reason = models.CharField(max_length=64, blank=True)
    memo = models.TextField(blank=True)
    created_at = models.DateTimeField()
    effective_at = models.DateTimeField(null=True, blank=True)
    voided_at = models.DateTimeField(null=True, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    last_event_at = models.DateTimeField()
    version = models.PositiveIntegerField(default=0, editable=False)
    lines_complete = models.BooleanField(
        default=True,
        db_default=False,
        help_text="False: Stripe has lines that are not here (it could not be read again, or is older than they).",
    )

    class Meta:
        ordering: ClassVar = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return self.number or self.stripe_credit_note_id


class StripeCreditNoteLine(models.Model):
    """One line of a credit note: positive amounts that are taken back from one account, kind and period.

    What it is follows from the invoice line that it refers to; a line of its own says it in metadata (`kind`,
    `account_id`, `period` as `2026-10`; the line's first, then the note's), else it is a custom line of the payer
    without a period.
    """

    credit_note = models.ForeignKey(StripeCreditNote, on_delete=models.CASCADE, related_name="lines")
    stripe_line_id = models.CharField(max_length=64)
    position = models.PositiveIntegerField(help_text="Stripe's order, from 0.")
    invoice_line = models.CharField(
        max_length=64,
        blank=True,
        help_text="The invoice line that it takes back. Empty: an amount of its own.",
    )
    kind = models.CharField(max_length=8, choices=LineKind.choices)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    amount_minor = models.BigIntegerField(help_text="Before discounts, and before taxes on top.")
    currency = models.CharField(max_length=3)
    quantity = models.BigIntegerField(null=True, blank=True)
    unit_amount_decimal = models.DecimalField(max_digits=24, decimal_places=12, null=True, blank=True)
    description = models.TextField(blank=True)
    period_start = models.DateTimeField(null=True, blank=True)
    period_end = models.DateTimeField(null=True, blank=True)
    discount_minor = models.BigIntegerField(default=0)
    tax_minor = models.BigIntegerField(default=0)
    inclusive_tax_minor = models.BigIntegerField(
        default=0, db_default=0, help_text="The part of the tax that is inside the amount."
    )
    taxes = models.JSONField(
        default=list,
        blank=True,
        help_text="`[{amount_minor, taxable_minor, percentage, reason}]`, beside taxes in prices also `inclusive` and "
        "`rate`; null = not told.",
    )
    metadata = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering: ClassVar = ["credit_note_id", "position"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["credit_note", "stripe_line_id"], name="credit_note_line_once_per_note"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["period_start", "kind"], name="credit_line_period_kind")]

    def __str__(self) -> str:
        return f"{self.description or self.stripe_line_id}"


class RawCopy(models.Model):
    """How far dj-stripe's copy of one Stripe object is. A copy that failed is made again from a fresh read."""

    stripe_object_id = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=32, help_text="Stripe's name of the object, like invoice.")
    last_event_at = models.DateTimeField(help_text="Stripe's time of the newest event copied or tried.")
    rank = models.PositiveSmallIntegerField(
        default=0, help_text="How far along the copied status is: settles events of the same second."
    )
    copied_at = models.DateTimeField(null=True, blank=True)
    failed_attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True, help_text="Set while the copy is behind.")
    last_error = models.TextField(blank=True)

    class Meta:
        ordering: ClassVar = ["-last_event_at"]
        verbose_name = "raw copy"
        verbose_name_plural = "raw copies"
        indexes: ClassVar = [models.Index(fields=["next_attempt_at"], name="raw_copy_next_attempt")]

    def __str__(self) -> str:
        return f"{self.kind} {self.stripe_object_id}"
