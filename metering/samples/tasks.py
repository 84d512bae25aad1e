"""Samples in the background."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from metering.samples import pruning


@shared_task(name="metering.prune_samples")
def prune_samples() -> dict[str, int]:
    """Delete samples older than `SAMPLES_KEEP_DAYS`, a run after their time was closed. May run twice at once."""
    now = timezone.now()
    pruning.set_horizon(keep=timedelta(days=settings.ENV.SAMPLES_KEEP_DAYS), now=now)
    return {"samples": sum(pruning.prune_samples(now=now))}
