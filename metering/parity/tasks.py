"""The hourly check. May run twice at once: each run keeps its own rows."""

from __future__ import annotations

from collections import Counter

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from metering.models import SampleFeed
from metering.parity.config import get_settle, get_tolerances, open_source
from metering.parity.services import run_scheduled_checks
from metering.parity.windows import get_settled_hour, get_settled_window


@shared_task(name="metering.check_parity")
def check_parity() -> dict[str, int]:
    """Compare the last settled day, of sampled meters the last settled hour, and again what did not agree.

    Without PARITY_SOURCE there is nothing to do.
    """
    name = settings.ENV.PARITY_SOURCE
    if name is None:
        return {}
    now = timezone.now()
    with open_source(name) as source:
        settled = [get_settled_window(now, get_settle())]
        if source.is_hourly and SampleFeed.objects.exists():
            settled.append(get_settled_hour(now, get_settle()))
        checks = run_scheduled_checks(source=source, settled=settled, tolerances=get_tolerances(), now=now)
    return dict(Counter(str(check.state) for check in checks))
