"""Wake a worker up, without ever depending on the broker.

The database rows are the queue of record: a kick that is lost costs the time until the next sweep, so a broker that is
down must not fail the request or the transaction that wanted one.
"""

from __future__ import annotations

from typing import Any

import structlog
from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

from billing_worker.alerts.metrics import KICKS_LOST

log = structlog.get_logger(__name__)


def kick(task: str, *args: Any) -> None:
    """Send a task by name once the present transaction (if any) is committed; log and count it if that fails."""
    transaction.on_commit(lambda: send_kick(task, *args))


def send_kick(task: str, *args: Any) -> bool:
    """Send a task by name now. False if the broker did not take it."""
    try:
        current_app.send_task(task, args=args, retry=False)
    except (OperationalError, OSError) as error:
        KICKS_LOST.labels(task=task).inc()
        log.warning("kick_lost", task=task, error=type(error).__name__)
        return False
    return True
