"""Managed charges that did not go through by themselves: Stripe's list settles doubts, people decide about refusals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import F

from billing_worker import gateway
from billing_worker.accounts.audit import record_audit
from billing_worker.alerts.kicks import kick
from billing_worker.alerts.services import resolve_alert
from billing_worker.core.errors import InvalidInput
from invoices.models import ManagedCharge
from invoices.services.managed import ALERT
from invoices.states import ChargeState

log = structlog.get_logger(__name__)


def resolve_charges(*, now: datetime) -> int:
    """Settle charges in doubt by Stripe's own list of the customer's invoice items. Returns how many were settled.

    An item that names the job is the charge's. If there is none the call certainly did nothing, since it was made
    longer ago than Stripe works on any request, and the charge goes back to the queue.
    """
    settled = 0
    for charge in ManagedCharge.objects.filter(state=ChargeState.UNKNOWN).order_by("pk"):
        try:
            item_id = _find_item(charge)
        except gateway.GatewayError as error:
            log.warning("managed_job_not_resolved", job=charge.job_id, error=str(error))
            continue
        doubtful = ManagedCharge.objects.filter(pk=charge.pk, state=ChargeState.UNKNOWN)
        if item_id:
            settled += doubtful.update(
                state=ChargeState.BILLED, stripe_invoice_item_id=item_id, billed_at=now, last_error=""
            )
        else:
            settled += doubtful.update(state=ChargeState.PENDING, first_sent_at=None)
        resolve_alert(name=ALERT, subject=f"job {charge.job_id}", now=now)
        log.info("managed_job_resolved", job=charge.job_id, item=item_id)
    return settled


def _find_item(charge: ManagedCharge) -> str:
    assert charge.first_sent_at is not None
    # A customer on a test clock lives in its own time, in which the item may be older than our call.
    since = None if charge.payer.test_clock_id else charge.first_sent_at - timedelta(hours=1)
    for item in gateway.list_invoice_items(customer=charge.customer, created_from=since):
        if item.metadata.get("kind") == "managed" and item.metadata.get("job_id") == str(charge.job_id):
            return item.id
    return ""


def retry_charges(*, ids: Sequence[int], reason: str, actor: str, now: datetime) -> int:
    """A person has refused (or given up) charges sent once more, after the cause is mended. Returns how many."""
    again = {"state": ChargeState.PENDING, "tries": F("tries") + 1, "first_sent_at": None, "last_error": ""}
    states = (ChargeState.REJECTED, ChargeState.GIVEN_UP)
    decided = _decide(ids, states, again, "retried", reason, actor, now)
    if decided:
        kick("invoices.bill_managed_jobs")
    return decided


def give_up_charges(*, ids: Sequence[int], reason: str, actor: str, now: datetime) -> int:
    """A person says that refused charges will never be billed by Stripe. Returns how many."""
    over = {"state": ChargeState.GIVEN_UP}
    return _decide(ids, (ChargeState.REJECTED,), over, "given_up", reason, actor, now)


def _decide(
    ids: Sequence[int],
    states: Sequence[ChargeState],
    changes: dict[str, Any],
    verb: str,
    reason: str,
    actor: str,
    now: datetime,
) -> int:
    """Raises InvalidInput without a reason."""
    if not reason.strip():
        raise InvalidInput("say why")
    decided = 0
    for charge in ManagedCharge.objects.filter(pk__in=ids, state__in=states).order_by("pk"):
        with transaction.atomic():
            if not ManagedCharge.objects.filter(pk=charge.pk, state=charge.state).update(**changes):
                continue
            record_audit(
                actor=actor,
                action=f"invoices.charge_{verb}",
                subject_type="ManagedCharge",
                subject_id=charge.pk,
                at=now,
                reason=reason,
                before={"state": charge.state, "error": charge.last_error},
                after={"state": changes["state"]},
            )
        decided += 1
        resolve_alert(name=ALERT, subject=f"job {charge.job_id}", now=now)
    return decided
