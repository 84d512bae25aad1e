"""Holds in the background. Both tasks may run twice at once and may die anywhere."""

from __future__ import annotations

from celery import Task, shared_task
from django.utils import timezone

from billing_worker.gateway import is_configured
from metering.draft_window.config import get_hold_policy
from metering.draft_window.models import DraftHold
from metering.draft_window.states import HoldState
from metering.draft_window.sweeping import sweep_holds
from metering.draft_window.working import work_hold


@shared_task(name="metering.work_draft_hold", bind=True)
def work_draft_hold(self: Task, hold_id: int) -> str:
    """Hold or release one draft; after a pause again while Stripe's hour is short."""
    if not is_configured():
        return "no Stripe key"
    state = work_hold(hold_id=hold_id, policy=get_hold_policy(), now=timezone.now())
    if state == HoldState.PLANNED:
        due_at = DraftHold.objects.get(pk=hold_id).next_attempt_at
        pause = (due_at - timezone.now()).total_seconds() if due_at else 1
        self.apply_async((hold_id,), countdown=max(pause, 1))
    return state


@shared_task(name="metering.sweep_draft_holds")
def sweep_draft_holds() -> dict[str, int]:
    """Every minute: hold what a lost kick left, release what has become complete, tell about what is overdue."""
    if not is_configured():
        return {}
    return sweep_holds(policy=get_hold_policy(), clock=timezone.now)
