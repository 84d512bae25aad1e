"""A scheduled task that breaks off is an alert until it comes through again: nobody reads a worker's log at night."""

from __future__ import annotations

from typing import Any, Final

import structlog
from celery import Task
from celery.signals import task_failure, task_success
from django.db import DatabaseError
from django.utils import timezone

from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import Severity

log = structlog.get_logger(__name__)

TASK_FAILED: Final = "scheduled_task_failed"


def watch_scheduled_tasks() -> None:
    """Listen to the tasks of this process; called once when the apps are ready."""
    task_failure.connect(tell_failure, dispatch_uid=TASK_FAILED)
    task_success.connect(tell_success, dispatch_uid=TASK_FAILED)


def tell_failure(sender: Task, exception: BaseException, **_: Any) -> None:
    """Raise the alert. Other tasks are kicks, whose work the scheduled ones find."""
    if not _is_scheduled(sender):
        return
    try:
        raise_alert(
            name=TASK_FAILED,
            severity=Severity.WARNING,
            subject=sender.name,
            detail=f"The scheduled task {sender.name} broke off: {type(exception).__name__}: {str(exception)[:1000]}."
            " Its next run does what it left; if that fails too, look at the worker's log",
            now=timezone.now(),
        )
    except DatabaseError as error:
        # Perhaps the same trouble that the task itself met, and that Celery logs.
        log.warning("task_failure_not_told", task=sender.name, error=type(error).__name__)


def tell_success(sender: Task, **_: Any) -> None:
    """Resolve the alert, if there is one."""
    if not _is_scheduled(sender):
        return
    try:
        resolve_alert(name=TASK_FAILED, subject=sender.name, now=timezone.now())
    except DatabaseError as error:
        log.warning("task_success_not_told", task=sender.name, error=type(error).__name__)


def _is_scheduled(task: Task) -> bool:
    return any(entry["task"] == task.name for entry in task.app.conf.beat_schedule.values())
