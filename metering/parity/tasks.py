"""The hourly check. May run twice at once: each run keeps its own rows."""

from __future__ import annotations

from collections import Counter

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from metering.parity.config import get_settle, get_tolerances, open_source
from metering.parity.services import run_scheduled_checks
from metering.parity.windows import get_settled_window


@shared_task(name="metering.check_parity")
def check_parity() -> dict[str, int]:
    """Compare the last settled day, and again what did not agree. Without PARITY_SOURCE there is nothing to do."""
    name = settings.ENV.PARITY_SOURCE
    if name is None:
        return {}
    now = timezone.now()
    with open_source(name) as source:
        checks = run_scheduled_checks(
            source=source, settled=get_settled_window(now, get_settle()), tolerances=get_tolerances(), now=now
        )
    return dict(Counter(str(check.state) for check in checks))
