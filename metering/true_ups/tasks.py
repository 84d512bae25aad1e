"""True-ups in the background. Every task may run twice at once and may die anywhere."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from billing_worker.gateway import is_configured
from metering.true_ups.proposing import ProposalResult, propose_true_ups
from metering.true_ups.working import work_true_up as work_one
from metering.true_ups.working import work_true_ups as work_all


@shared_task(name="metering.propose_true_ups")
def propose() -> dict[str, int]:
    """Every night, after the sender's run: propose for what came late."""
    result = ProposalResult()
    for result in propose_true_ups(now=timezone.now()):  # noqa: B007
        pass
    return {"payers": result.payers, "proposed": result.proposed, "free": result.free}


@shared_task(name="metering.work_true_up")
def work_true_up(true_up_id: int) -> str:
    """Carry out one approved true-up right after the decision."""
    if not is_configured():
        return "no Stripe key"
    return work_one(true_up_id=true_up_id, now=timezone.now())


@shared_task(name="metering.work_true_ups")
def work_true_ups() -> dict[str, int]:
    """Every five minutes: what a lost kick, a pause or a dead worker left."""
    if not is_configured():
        return {}
    return work_all(clock=timezone.now)
