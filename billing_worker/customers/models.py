"""How far each account's customer at Stripe is in step with its account."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from billing_worker.accounts.models import Account
from billing_worker.customers.comparing import Held, HeldTaxId, Memory
from billing_worker.customers.states import SyncState


class CustomerSync(models.Model):
    """One provisioned account's customer: what Stripe had when it was last read, and what of it is ours.

    No row: the account is not provisioned, and its customer (if any) is left alone. The JSON columns are those of
    `comparing.Memory`; `services` is the only writer.
    """

    account = models.OneToOneField(Account, on_delete=models.CASCADE, related_name="customer_sync")
    state = models.CharField(max_length=8, choices=SyncState.choices, default=SyncState.PENDING)
    written = models.JSONField(default=dict, blank=True)
    asked = models.JSONField(default=dict, blank=True)
    kept = models.JSONField(default=dict, blank=True)
    refused = models.JSONField(default=dict, blank=True)
    leaving = models.JSONField(default=list, blank=True)
    found = models.JSONField(
        default=dict, blank=True, help_text="The customer as Stripe had it at `read_at`: values and tax ids."
    )
    looked_for = models.JSONField(
        default=dict, blank=True, help_text="What the account said when its customer was last looked at."
    )
    tax_id_number = models.PositiveIntegerField(
        default=0, help_text="Tax ids whose creation is settled: part of the idempotency key of the next."
    )
    told_at = models.DateTimeField(
        null=True, blank=True, help_text="Set while something was heard of that was not looked at yet."
    )
    read_at = models.DateTimeField(null=True, blank=True, help_text="When Stripe was last asked.")
    synced_at = models.DateTimeField(null=True, blank=True, help_text="When nothing was left to write.")
    error = models.CharField(max_length=500, blank=True)
    claim_token = models.CharField(max_length=32, blank=True, editable=False)
    claimed_at = models.DateTimeField(null=True, blank=True, editable=False)
    requests = models.PositiveIntegerField(
        default=0, editable=False, help_text="Counts who came while another worker was at it."
    )

    class Meta:
        ordering: ClassVar = ["account_id"]
        verbose_name = "customer"
        indexes: ClassVar = [models.Index(fields=["state"], name="customer_sync_state")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(claim_token="", claimed_at__isnull=True)
                | ~Q(claim_token="") & Q(claimed_at__isnull=False),
                name="customer_sync_claim_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(state=SyncState.SYNCED) | Q(synced_at__isnull=False, read_at__isnull=False),
                name="customer_sync_synced_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(state=SyncState.FAILED) | ~Q(error=""), name="customer_sync_failed_has_error"
            ),
        ]

    def __str__(self) -> str:
        return f"customer of account {self.account_id}"

    @property
    def memory(self) -> Memory:
        return Memory(
            written=self.written,
            asked=self.asked,
            kept=self.kept,
            refused=self.refused,
            leaving=self.leaving,
        )

    @property
    def held(self) -> Held | None:
        """The customer as it was last read; None before that."""
        if not self.found:
            return None
        found: dict[str, Any] = self.found
        return Held(values=found["values"], tax_ids=tuple(HeldTaxId(**one) for one in found["tax_ids"]))
