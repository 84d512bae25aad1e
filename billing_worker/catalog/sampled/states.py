"""What a sampled meter measures and how it is billed."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db.models import TextChoices


class SampledQuantity(TextChoices):
    """What is integrated over time. A sample holds it in the whole numbers of `UNITS`."""

    GB_SECONDS = "gb_seconds", "GB-seconds"  # memory_mb / 1024 x seconds
    VCPU_SECONDS = "vcpu_seconds", "vCPU-seconds"  # cpu_count x seconds


class BillingMode(TextChoices):
    """How many Stripe meters a sampled meter has."""

    PER_TIER = "per_tier", "A meter for each plan tier"
    UNIFIED = "unified", "One meter for everybody"


class BucketLength(TextChoices):
    """The stretch of time, in UTC, that one meter event stands for."""

    HOUR = "hour", "Hourly"
    DAY = "day", "Daily"


#: How many of the smallest units (megabyte-milliseconds, thousandths of a CPU times milliseconds) make a billed unit.
UNITS: Final[dict[str, int]] = {
    SampledQuantity.GB_SECONDS: 1024 * 1000,
    SampledQuantity.VCPU_SECONDS: 1000 * 1000,
}
LENGTHS: Final[dict[str, timedelta]] = {
    BucketLength.HOUR: timedelta(hours=1),
    BucketLength.DAY: timedelta(days=1),
}
