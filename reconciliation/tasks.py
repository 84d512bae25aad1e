"""The daily reconciliation."""

from __future__ import annotations

import structlog
from celery import shared_task
from django.utils import timezone

from billing_worker.accounts.selectors import get_leased_payer_ids
from billing_worker.alerts.services import raise_alert
from billing_worker.alerts.states import AlertName, Severity
from billing_worker.core.errors import Unavailable
from billing_worker.core.periods import Period
from reconciliation.services import run_reconciliation

log = structlog.get_logger(__name__)


@shared_task(name="reconciliation.reconcile_current_period")
def reconcile_current_period() -> int | None:
    """Reconcile the last complete period for every payer with a lease for it: Stripe bills it, or it was handed back.

    Answers the run's id, None without one.
    """
    now = timezone.now()
    period = Period.of(now).previous()
    payer_ids = get_leased_payer_ids(period)
    if not payer_ids:
        log.info("reconciliation_skipped", period=str(period), reason="no account is billed by Stripe")
        return None
    try:
        return run_reconciliation(period=period, payer_ids=payer_ids, scope="", now=now).pk
    except Unavailable as error:
        raise_alert(
            name=AlertName.RECONCILIATION_FAILED,
            severity=Severity.CRITICAL,
            subject=f"all accounts {period}",
            detail=str(error),
            now=now,
        )
        return None
