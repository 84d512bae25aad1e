"""What cohorts need every day."""

from __future__ import annotations

from collections import Counter

from celery import shared_task
from django.utils import timezone

from billing_worker import gateway
from cohorts.models import Rollback
from cohorts.services import extend_leases as run_extend_leases
from cohorts.services import recheck_rollback
from cohorts.services import settle_rollback as run_settle_rollback
from cohorts.services import sync_customers as run_sync_customers
from cohorts.services import sync_subscriptions as run_sync_subscriptions


@shared_task(name="cohorts.extend_leases")
def extend_leases() -> int:
    """Leases for this month and the next for all members that Stripe bills. Answers how many were new."""
    return run_extend_leases(actor="task:cohorts.extend_leases", now=timezone.now())


@shared_task(name="cohorts.settle_rollback")
def settle_rollback(rollback_id: int) -> dict[str, int]:
    """Do what one rollback, or its withdrawal, has left. Answers how many payers came to which outcome."""
    results = run_settle_rollback(
        rollback_id=rollback_id, actor="task:cohorts.settle_rollback", now=timezone.now()
    )
    return dict(Counter(result.outcome for result in results))


@shared_task(name="cohorts.sweep_rollbacks")
def sweep_rollbacks() -> int:
    """Settle every rollback that is not through, and look whether each end still stands. Answers how many were open."""
    open_count = 0
    for rollback_id in Rollback.objects.filter(open_cohort__isnull=False).values_list("pk", flat=True):
        if recheck_rollback(
            rollback_id=rollback_id, actor="task:cohorts.sweep_rollbacks", now=timezone.now()
        ):
            open_count += 1
            settle_rollback(rollback_id)
    return open_count


@shared_task(name="cohorts.sync_subscriptions")
def sync_subscriptions() -> dict[str, int]:
    """Let every subscription follow its account's plan. Answers how many came to which outcome."""
    results = run_sync_subscriptions(actor="task:cohorts.sync_subscriptions", now=timezone.now())
    return dict(Counter(result.outcome for result in results))


@shared_task(name="cohorts.sync_customers")
def sync_customers() -> dict[str, int]:
    """Let customers at Stripe follow their accounts, where something was heard of. Answers how many came to what."""
    if not gateway.is_configured():
        return {}
    results = run_sync_customers(actor="task:cohorts.sync_customers", only_due=True, now=timezone.now())
    return dict(Counter(result.outcome for result in results))
