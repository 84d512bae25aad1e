"""What the mirror does on its own."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from billing_worker.mirror.raw_copies import retry_copies
from billing_worker.mirror.selectors import list_due_copies
from billing_worker.mirror.services import adopt_rows


@shared_task(name="mirror.sweep")
def sweep() -> dict[str, int]:
    """Retry dj-stripe's copies that are behind, and give orphaned rows to their accounts."""
    now = timezone.now()
    copies = list_due_copies(now=now, limit=100)
    return {"copied": retry_copies(copies=copies, now=now), "adopted": adopt_rows()}
