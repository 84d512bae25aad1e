"""Samples as they were told, the buckets that they add up to, and the months that carry fractions.

Quantities are whole numbers of the smallest unit (megabyte-milliseconds, or thousandths of a CPU times
milliseconds), so sums are exact. Rows are narrow and their keys ascend with the batch that brought them: a fold reads
ranges of keys.
"""

from __future__ import annotations

from typing import ClassVar, Final

from django.db import models
from django.db.models import F, Q

from billing_worker.accounts.models import Account
from billing_worker.catalog.sampled.models import SampledTier

#: Samples in one request. A sample's key is its batch's times this, plus its position.
MAX_BATCH: Final = 1_000
#: Later buckets that one sample can reach into: a day in hourly buckets, begun within one. Part of keys: never changes.
SPILLS_PER_SAMPLE: Final = 32


class SampleFeed(models.Model):
    """An account's month on a tier of a sampled meter, with what was billed of it. Closing locks this row.

    `units` are those of closed buckets, in smallest units; `billed` is how many whole ones of them meter events hold.
    What is left over is carried to the next bucket that closes.
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+", db_index=False)
    tier = models.ForeignKey(SampledTier, on_delete=models.PROTECT, related_name="+")
    period = models.CharField(max_length=7, help_text="Calendar month in UTC, like 2026-10.")
    units = models.BigIntegerField(default=0, help_text="Smallest units in closed buckets.")
    billed = models.BigIntegerField(default=0, help_text="Whole units in meter events.")

    class Meta:
        ordering: ClassVar = ["period", "account_id", "tier_id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "tier", "period"], name="sample_feed_one_per_month"),
            models.CheckConstraint(
                condition=Q(units__gte=0, billed__gte=0, billed__lte=F("units")),
                name="sample_feed_bills_what_is_there",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} {self.tier_id} {self.period}"


class SampleBatch(models.Model):
    """The samples of one request. Committed with them; folded into buckets once, all of them together."""

    received_at = models.DateTimeField()
    samples = models.PositiveIntegerField()
    folded_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["folded_at", "id"], name="sample_batch_open")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(samples__gt=0, samples__lte=MAX_BATCH), name="sample_batch_size_in_bounds"
            ),
        ]

    def __str__(self) -> str:
        return f"batch {self.pk}: {self.samples}"


class UsageSample(models.Model):
    """One tick: what was in use during the `interval_ms` that ended at `at`. Never edited.

    `feed`, `hour` and `units` are its part in the bucket that it begins in; parts in later ones are `SampleSpill`s.
    """

    id = models.BigIntegerField(primary_key=True, help_text="Batch x 1,000 + position.")
    event_id = models.CharField(max_length=64, unique=True, help_text="The sender's name of it.")
    # Without a constraint: the check would lock the feed against its closing. Feeds are never deleted.
    feed = models.ForeignKey(
        SampleFeed, on_delete=models.PROTECT, related_name="samples", db_constraint=False, db_index=False
    )
    hour = models.SmallIntegerField(help_text="The bucket's first hour, counted from the month's start.")
    units = models.BigIntegerField()
    at = models.DateTimeField(help_text="End of the interval (exclusive).")
    interval_ms = models.IntegerField()
    memory_mb = models.IntegerField()
    milli_cpus = models.IntegerField()

    class Meta:
        verbose_name = "sample"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(interval_ms__gt=0, units__gte=0, memory_mb__gte=0, milli_cpus__gte=0),
                name="usage_sample_in_bounds",
            ),
        ]

    def __str__(self) -> str:
        return self.event_id


class SampleSpill(models.Model):
    """The part of a sample in a bucket after its first."""

    id = models.BigIntegerField(primary_key=True, help_text="Sample x 32 + which part.")
    feed = models.ForeignKey(
        SampleFeed, on_delete=models.PROTECT, related_name="spills", db_constraint=False, db_index=False
    )
    hour = models.SmallIntegerField()
    units = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.pk}: {self.units}"


class SampleBucket(models.Model):
    """The sum of the folded parts of one bucket. `closed_units` of them are in meter events (or carried)."""

    feed = models.ForeignKey(SampleFeed, on_delete=models.PROTECT, related_name="buckets", db_index=False)
    hour = models.SmallIntegerField(help_text="Its first hour, counted from the month's start.")
    units = models.BigIntegerField()
    closed_units = models.BigIntegerField(default=0)
    parts = models.BigIntegerField(help_text="How many parts of samples are in it.")
    revision = models.PositiveIntegerField(default=0, help_text="How often it was closed.")
    is_open = models.BooleanField(help_text="It holds units that are in no meter event yet.")

    class Meta:
        verbose_name = "sampled bucket"
        ordering: ClassVar = ["feed_id", "hour"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["feed", "hour"], name="sample_bucket_one_per_hour"),
            models.CheckConstraint(
                condition=Q(closed_units__gte=0, closed_units__lte=F("units")),
                name="sample_bucket_closes_what_is_there",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["is_open", "feed"], name="sample_bucket_open")]

    def __str__(self) -> str:
        return f"{self.feed_id} hour {self.hour}: {self.units}"


class SampleHorizon(models.Model):
    """Samples that end before `before_at` are refused from `set_at` on: rows go, and with them what tells a repeat.

    Only the highest counts. It never goes back, whatever the setting says later.
    """

    before_at = models.DateTimeField(unique=True)
    set_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"before {self.before_at:%Y-%m-%d %H:%M}"
