"""Usage as it was told to us, and the meter events made of it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from billing_worker.accounts.models import Account
from metering.draft_window.models import DraftHold as DraftHold
from metering.draft_window.models import UsageCompletion as UsageCompletion
from metering.parity.models import ParityCheck as ParityCheck
from metering.parity.models import ParityResult as ParityResult
from metering.pulling.models import UsagePull as UsagePull
from metering.runs.models import RollUpRun as RollUpRun
from metering.samples.models import SampleBatch as SampleBatch
from metering.samples.models import SampleBucket as SampleBucket
from metering.samples.models import SampleFeed as SampleFeed
from metering.samples.models import SampleHorizon as SampleHorizon
from metering.samples.models import SampleSpill as SampleSpill
from metering.samples.models import UsageSample as UsageSample
from metering.states import EventState, Granularity
from metering.true_ups.models import BilledUsage as BilledUsage
from metering.true_ups.models import TrueUp as TrueUp
from metering.true_ups.models import TrueUpLock as TrueUpLock
from metering.true_ups.models import TrueUpPart as TrueUpPart

USAGE_TYPE_CHOICES = [("ST", "ST"), ("RM", "RM"), ("CV", "CV")]
#: Stripe takes meter event values of at most 15 digits.
MAX_QUANTITY = 999_999_999_999_999


class UsageFeed(models.Model):
    """An account's month of usage: fed daily or monthly, never both. The row that writers of the month lock."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="usage_feeds", db_index=False)
    period = models.CharField(max_length=7, help_text="Calendar month in UTC, like 2026-10.")
    granularity = models.CharField(max_length=5, choices=Granularity.choices)

    class Meta:
        ordering: ClassVar = ["period", "account_id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "period"], name="usage_feed_one_kind_per_month"),
            models.CheckConstraint(
                condition=Q(granularity__in=Granularity.values), name="usage_feed_granularity_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} {self.period} ({self.granularity})"


class UsageRecord(models.Model):
    """One statement of how much was used in a bucket. Never edited: a correction is a new revision with its reason.

    The quantity in force is the one of the highest revision, which is also the sum of all deltas.
    """

    feed = models.ForeignKey(UsageFeed, on_delete=models.PROTECT, related_name="records", db_index=False)
    bucket_date = models.DateField(help_text="The day (UTC), or the month's first where fed monthly.")
    usage_type = models.CharField(max_length=2, choices=USAGE_TYPE_CHOICES)
    revision = models.PositiveIntegerField(help_text="0 is the first statement.")
    quantity = models.BigIntegerField(help_text="The bucket's whole total as stated, in impressions.")
    delta = models.BigIntegerField(
        help_text="Difference to the revision before; the quantity itself in revision 0."
    )
    reason = models.CharField(max_length=500, blank=True, help_text="Why it was restated.")
    author = models.CharField(max_length=80, help_text="Service key, user or command that stated it.")
    received_at = models.DateTimeField()
    rolled_up_at = models.DateTimeField(
        null=True, blank=True, help_text="When its delta went into a meter event."
    )

    class Meta:
        ordering: ClassVar = ["feed_id", "bucket_date", "usage_type", "revision"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["feed", "bucket_date", "usage_type", "revision"], name="usage_record_one_per_revision"
            ),
            models.CheckConstraint(
                condition=Q(quantity__gte=0, quantity__lte=MAX_QUANTITY),
                name="usage_record_quantity_in_bounds",
            ),
            models.CheckConstraint(
                condition=Q(revision=0, delta=F("quantity")) | (Q(revision__gt=0) & ~Q(reason="")),
                name="usage_record_restated_with_reason",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["rolled_up_at", "feed"], name="usage_record_open")]

    def __str__(self) -> str:
        return f"{self.feed_id} {self.bucket_date} {self.usage_type} r{self.revision}: {self.quantity}"


class SendingLane(models.Model):
    """A customer's meter: Stripe takes one call at a time on it, so one sender at a time holds its lease."""

    customer = models.CharField(max_length=64)
    event_name = models.CharField(max_length=100)
    lease_token = models.CharField(max_length=36, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True, help_text="Empty or past: free to take.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["customer", "event_name"], name="sending_lane_one_per_meter"),
        ]

    def __str__(self) -> str:
        return f"{self.customer} {self.event_name}"


class SendingBudget(models.Model):
    """Until when the limit of calls to Stripe is spent. One row for all senders: who locks it reserves what follows."""

    name = models.CharField(max_length=40, unique=True)
    spent_until = models.DateTimeField(help_text="In the database's time.")

    def __str__(self) -> str:
        return f"{self.name} until {self.spent_until}"


class MeterEvent(models.Model):
    """What Stripe is told (or would be, in shadow) about one bucket: the outbox. Sent at most once."""

    identifier = models.CharField(
        max_length=100,
        unique=True,
        help_text="{account}:{bucket}:{meter}, with :{revision} for a correction.",
    )
    account = models.ForeignKey(
        Account, on_delete=models.PROTECT, related_name="meter_events", db_index=False
    )
    payer = models.ForeignKey(
        Account, on_delete=models.PROTECT, related_name="+", null=True, blank=True,
        help_text="Whose Stripe customer is told; empty while there is none.",
    )  # fmt: skip
    lane = models.ForeignKey(
        SendingLane, on_delete=models.PROTECT, related_name="events", null=True, blank=True, db_index=False
    )
    meter = models.CharField(max_length=40, help_text="ST, RM, CV, or a sampled meter's name.")
    event_name = models.CharField(max_length=100)
    period = models.CharField(max_length=7, help_text="Month whose invoice it belongs on, like 2026-10.")
    bucket = models.CharField(max_length=13, help_text="2026-10-05, 2026-10, or 2026-10-05T14.")
    bucket_start_at = models.DateTimeField(
        help_text="First instant of the bucket; the seam compares with it."
    )
    first_revision = models.PositiveIntegerField(help_text="First revision that it covers.")
    revision = models.PositiveIntegerField(help_text="Last revision that it covers.")
    value = models.BigIntegerField(help_text="Units to add on the meter; negative takes back.")
    at = models.DateTimeField(help_text="Timestamp sent, inside the bucket.")
    state = models.CharField(max_length=10, choices=EventState.choices)
    reason = models.CharField(max_length=500, blank=True, help_text="Why it is not simply sent.")
    attempts = models.PositiveIntegerField(default=0)
    claim_token = models.CharField(max_length=36, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(
        null=True, blank=True, help_text="Not before this; empty = at once."
    )
    uncertain_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="First call whose outcome is unknown; bounds how long a repeat is safe.",
    )
    sent_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    #: What Stripe was told, or may have been: written at the first claim, and the payload can't differ from it after.
    sealed_identifier = models.CharField(max_length=100, null=True, blank=True, editable=False)  # noqa: DJ001
    sealed_value = models.BigIntegerField(null=True, blank=True, editable=False)
    sealed_at = models.DateTimeField(null=True, blank=True, editable=False)
    sealed_lane = models.BigIntegerField(null=True, blank=True, editable=False)

    class Meta:
        ordering: ClassVar = ["at", "id"]
        permissions: ClassVar = [("decide_meterevent", "Can retry, resolve or give up meter events")]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(value=0), name="meter_event_not_zero"),
            models.CheckConstraint(condition=Q(state__in=EventState.values), name="meter_event_state_known"),
            models.CheckConstraint(
                condition=~Q(state=EventState.SENT) | Q(sent_at__isnull=False, lane__isnull=False),
                name="meter_event_sent_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(state=EventState.SENDING)
                | (Q(claimed_at__isnull=False, lane__isnull=False) & ~Q(claim_token="")),
                name="meter_event_sending_is_claimed",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[EventState.SKIPPED, EventState.REJECTED, EventState.EXPIRED])
                | ~Q(reason=""),
                name="meter_event_ends_with_reason",
            ),
            models.CheckConstraint(
                condition=Q(sealed_identifier__isnull=True)
                | Q(
                    sealed_identifier=F("identifier"),
                    sealed_value=F("value"),
                    sealed_at=F("at"),
                    sealed_lane=F("lane"),
                ),
                name="meter_event_payload_is_sealed",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["state", "at"], name="meter_event_queue"),
            models.Index(fields=["account", "period"], name="meter_event_account_period"),
            models.Index(fields=["lane", "at"], name="meter_event_lane"),
        ]

    def __str__(self) -> str:
        return f"{self.identifier}: {self.value} ({self.state})"


class SeamSetting(models.Model):
    """Where the seam lies for one account, over the environment's `SHADOW` and `BILL_FROM`. Audited when changed."""

    account = models.OneToOneField(Account, on_delete=models.CASCADE, related_name="seam")
    shadow = models.BooleanField(help_text="Compute meter events and send none.")
    bill_from = models.DateTimeField(
        null=True,
        blank=True,
        help_text="First instant whose usage is sent; midnight UTC. Empty = from the start.",
    )
    changed_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.account_id}: {'shadow' if self.shadow else 'billing'} from {self.bill_from or 'the start'}"
