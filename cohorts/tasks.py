"""What cohorts need every day."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from cohorts.services import extend_leases as run_extend_leases


@shared_task(name="cohorts.extend_leases")
def extend_leases() -> int:
    """Leases for this month and the next for all members that Stripe bills. Answers how many were new."""
    return run_extend_leases(actor="task:cohorts.extend_leases", now=timezone.now())
