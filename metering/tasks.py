"""Metering in the background. Every task may run twice at once and may die anywhere."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic

from celery import Task, shared_task
from django.utils import timezone

from billing_worker.alerts.kicks import send_kick
from billing_worker.gateway import is_configured
from metering.config import get_grace, get_port, get_seam, get_sender_options
from metering.draft_window.tasks import sweep_draft_holds as sweep_draft_holds
from metering.draft_window.tasks import work_draft_hold as work_draft_hold
from metering.parity.tasks import check_parity as check_parity
from metering.pulling.tasks import pull_usage as pull_usage
from metering.runs.services import do_run, start_run
from metering.samples.tasks import prune_samples as prune_samples
from metering.services.sending import send_batch
from metering.services.sending.claims import get_next_due_at
from metering.services.sending.run import hold_everything
from metering.services.totals import compare_totals, list_recent_days
from metering.true_ups.tasks import propose as propose
from metering.true_ups.tasks import work_true_up as work_true_up
from metering.true_ups.tasks import work_true_ups as work_true_ups

#: A comparison of totals hands over to another task after so many seconds.
CHECK_SECONDS = 60
#: A run that left something in back-off is followed by another within this time; else the next scheduled run is.
FOLLOW_UP = timedelta(minutes=10)


@shared_task(name="metering.roll_up_usage")
def roll_up_usage() -> dict[str, int]:
    """Make meter events of closed buckets, then wake the sender; also for what a lost kick or a dead sender left."""
    run = start_run(trigger="schedule", period=None, now=timezone.now())
    for _ in do_run(run, grace=get_grace(), seam=get_seam(), clock=timezone.now):
        pass
    now = timezone.now()
    due_at = get_next_due_at(now)
    if run.events or (due_at is not None and due_at <= now):
        send_kick("metering.send_meter_events")
    return {"months": run.months, "records": run.records, "events": run.events}


@shared_task(name="metering.send_meter_events", bind=True)
def send_meter_events(self: Task, is_follow_up: bool = False) -> dict[str, int]:
    """Send one batch of at most 500; follow up until nothing is left that can be sent."""
    if not is_configured():
        return hold_everything().as_dict()
    result = send_batch(
        port=get_port(),
        seam=get_seam(),
        options=get_sender_options(),
        clock=timezone.now,
        is_first=not is_follow_up,
    )
    now = timezone.now()
    due_at = get_next_due_at(now)
    if result.claimed and not result.cause:
        send_kick("metering.send_meter_events", True)
    elif due_at is not None and due_at <= now + FOLLOW_UP:
        self.apply_async((True,), countdown=max((due_at - now).total_seconds(), 1))
    return result.as_dict()


@shared_task(name="metering.check_meter_totals")
def check_meter_totals(lane_id: int = 0, day: str = "") -> dict[str, int]:
    """Compare the days sent for lately with Stripe's meters, from a place on; long ones go on in another task."""
    counts = {"compared": 0, "differ": 0}
    if not is_configured():
        return counts
    now, deadline = timezone.now(), monotonic() + CHECK_SECONDS
    stretches = list_recent_days(now=now, after=(lane_id, day))
    for found in compare_totals(stretches, port=get_port(), now=now):
        counts["compared"] += 1
        counts["differ"] += found.differs
        if monotonic() >= deadline and found.stretch is not stretches[-1]:
            place = found.stretch
            send_kick("metering.check_meter_totals", place.lane.pk, f"{place.start_at:%Y-%m-%d}")
            break
    return counts
