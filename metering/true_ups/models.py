"""What finalized invoices billed of each meter, and the true-ups for what came after them."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q

from billing_worker.accounts.models import Account
from metering.true_ups.states import TrueUpState


def make_reference() -> str:
    return uuid.uuid4().hex


class BilledUsage(models.Model):
    """A finalized invoice has billed `[period_start, period_end)` of a payer's meter: later usage is not on it.

    Usage whose timestamp lies in it is never sent any more, because Stripe would count it and bill nothing.
    """

    stripe_invoice_id = models.CharField(max_length=64)
    payer = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="billed_usage", db_index=False)
    meter = models.CharField(max_length=40, help_text="ST, RM, CV, or a sampled meter's event name.")
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    units = models.BigIntegerField(help_text="Units on the invoice, over all tiers.")
    amount_minor = models.BigIntegerField(help_text="What they cost there, before discounts and taxes.")
    currency = models.CharField(max_length=3)
    finalized_at = models.DateTimeField(help_text="Stripe's time.")
    recorded_at = models.DateTimeField(help_text="Ours.")

    class Meta:
        ordering: ClassVar = ["-period_start", "payer_id", "meter"]
        verbose_name_plural = "billed usage"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["stripe_invoice_id", "meter", "period_start"], name="billed_usage_once_per_invoice"
            ),
            models.CheckConstraint(
                condition=Q(period_start__lt=models.F("period_end")), name="billed_usage_period_has_length"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["payer", "meter", "period_start"], name="billed_usage_lookup")
        ]

    def __str__(self) -> str:
        return f"{self.payer_id} {self.meter} from {self.period_start:%Y-%m-%d}: {self.units}"


class TrueUpLock(models.Model):
    """The row that proposals and decisions about a payer's true-ups lock, so that tiers are counted through once."""

    payer = models.OneToOneField(Account, on_delete=models.PROTECT, related_name="+")

    def __str__(self) -> str:
        return f"true-ups of {self.payer_id}"


class TrueUp(models.Model):
    """Units of one account, month and meter that no invoice has, and what they cost by the payer's tiers.

    The amount is the bill for all units less the bill for those counted before. Positive: an invoice item on the next
    invoice. Negative: a credit note.
    """

    reference = models.CharField(
        max_length=32, unique=True, default=make_reference, editable=False,
        help_text="Names it at Stripe: metadata and idempotency key.",
    )  # fmt: skip
    account = models.ForeignKey(
        Account, on_delete=models.PROTECT, related_name="true_ups", help_text="Whose usage it is."
    )
    payer = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    meter = models.CharField(max_length=40, help_text="ST, RM, CV, or a sampled meter's event name.")
    period = models.CharField(max_length=7, help_text="Calendar month in UTC, like 2026-10.")
    period_start = models.DateTimeField(help_text="Start of the billed period; tiers count from here.")
    period_end = models.DateTimeField()
    stripe_invoice_id = models.CharField(
        max_length=64, blank=True, help_text="The invoice that billed the period. Empty: none did."
    )
    units = models.BigIntegerField(help_text="Units that came late; negative takes back.")
    units_before = models.BigIntegerField(help_text="Units of the payer counted before these.")
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    arithmetic = models.JSONField(
        default=list,
        help_text="`[{tier, unit_amount_decimal, units_before, units_after, before_minor, after_minor}]`",
    )
    notes = models.JSONField(default=list, blank=True, help_text="What a person should know first.")
    state = models.CharField(max_length=10, choices=TrueUpState.choices)
    proposed_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=150, blank=True)
    decision_reason = models.CharField(max_length=400, blank=True)
    credited_invoice_id = models.CharField(max_length=64, blank=True)
    credit_lines = models.JSONField(
        default=list, blank=True, help_text="`[{invoice_line, amount_minor, units}]` of the credited invoice."
    )
    approvals = models.PositiveIntegerField(
        default=0, help_text="How often it was approved: Stripe keeps a refusal under the same key."
    )
    attempts = models.PositiveIntegerField(default=0)
    claim_token = models.CharField(max_length=36, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    called_at = models.DateTimeField(
        null=True, blank=True, help_text="When Stripe was first asked; from then on it is looked for first."
    )
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=500, blank=True)
    stripe_object_id = models.CharField(max_length=64, unique=True, null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "true-up"
        ordering: ClassVar = ["-proposed_at", "-pk"]
        permissions: ClassVar = [("decide_trueup", "Can approve or reject true-ups")]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(state__in=TrueUpState.values), name="true_up_state_known"),
            models.CheckConstraint(
                condition=Q(state__in=[TrueUpState.PROPOSED, TrueUpState.NO_CHARGE])
                | (Q(decided_at__isnull=False) & ~Q(decided_by="") & ~Q(decision_reason="")),
                name="true_up_decided_by_somebody",
            ),
            models.CheckConstraint(
                condition=Q(
                    state=TrueUpState.SETTLED, stripe_object_id__isnull=False, settled_at__isnull=False
                )
                | (~Q(state=TrueUpState.SETTLED) & Q(settled_at__isnull=True)),
                name="true_up_settled_has_object",
            ),
            models.CheckConstraint(
                condition=~Q(state=TrueUpState.CALLING) | (Q(claimed_at__isnull=False) & ~Q(claim_token="")),
                name="true_up_calling_is_claimed",
            ),
            models.CheckConstraint(
                condition=Q(amount_minor=0, state__in=[TrueUpState.NO_CHARGE, TrueUpState.REJECTED])
                | (~Q(amount_minor=0) & ~Q(state=TrueUpState.NO_CHARGE)),
                name="true_up_charges_something",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["state", "next_attempt_at"], name="true_up_queue"),
            models.Index(fields=["payer", "meter", "period_start"], name="true_up_position"),
            models.Index(fields=["account", "period"], name="true_up_account_period"),
        ]

    def __str__(self) -> str:
        return f"true-up {self.pk}: {self.account_id} {self.period} {self.meter} {self.units:+,}"

    @property
    def idempotency_key(self) -> str:
        """Whoever sends it, and however often after one approval: Stripe makes one object of it."""
        return f"true-up-{self.reference}-{self.approvals}"

    @property
    def is_credit(self) -> bool:
        """Money back, by credit note."""
        return self.amount_minor < 0


class TrueUpPart(models.Model):
    """A meter event whose units a true-up bills. One row for an event, ever: the units are billed once."""

    true_up = models.ForeignKey(TrueUp, on_delete=models.PROTECT, related_name="parts")
    event = models.OneToOneField("metering.MeterEvent", on_delete=models.PROTECT, related_name="true_up_part")
    value = models.BigIntegerField(help_text="The event's units.")

    def __str__(self) -> str:
        return f"{self.true_up_id}: {self.event_id} {self.value:+,}"
