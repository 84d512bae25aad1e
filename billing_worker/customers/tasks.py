"""What is done about customers without being asked."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from billing_worker import gateway
from billing_worker.customers.services import sync_account as run_sync_account


@shared_task(name="customers.sync_account")
def sync_account(account_id: int) -> str:
    """Look at one customer, because its account or the customer itself has changed. Answers what became of it."""
    if not gateway.is_configured():
        return "waiting"
    result = run_sync_account(account_id=account_id, actor="task:customers.sync_account", now=timezone.now())
    return result.outcome
