"""The scheduled pull. May run twice at once and die anywhere: days are claimed, and done again if not settled."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from billing_worker.alerts.kicks import send_kick
from billing_worker.core.errors import Unavailable
from billing_worker.core.periods import Period
from metering.pulling.alerting import report_failure, report_overdue_days, report_success
from metering.pulling.services import plan_pull, run_pull

if TYPE_CHECKING:
    from metering.pulling.redshift import RedshiftSource


@shared_task(name="metering.pull_usage")
def pull_usage() -> dict[str, int]:
    """Pull what the warehouse has completed or restated of yesterday's month and the one before; look for overdue days.

    Without REDSHIFT_DATABASE_URL there is nothing to do. A warehouse that can't be read is an alert, not an error:
    the next run tries again.
    """
    url = settings.ENV.REDSHIFT_DATABASE_URL
    if not url:
        return {}
    counts = dict.fromkeys(("days", "created", "restated", "refused", "overdue"), 0)
    current = Period.of(timezone.now() - timedelta(days=1))
    # PostgreSQL's driver is 9 MB of a process: only of one that has pulled.
    from metering.pulling.redshift import RedshiftSource

    with RedshiftSource(url) as source:
        try:
            for period in (current.previous(), current):
                _pull_period(source, period, counts)
        except Unavailable as error:
            report_failure(source=source.name, error=str(error), now=timezone.now())
            return counts
        finally:
            if counts["created"] or counts["restated"]:
                send_kick("metering.roll_up_usage")
        report_success(source=source.name, now=timezone.now())
    return counts


def _pull_period(source: RedshiftSource, period: Period, counts: dict[str, int]) -> None:
    plan = plan_pull(source=source, period=period, now=timezone.now())
    for result in run_pull(plan=plan, clock=timezone.now):
        counts["days"] += result.state is not None
        counts["created"] += result.created
        counts["restated"] += result.restated
        counts["refused"] += result.refused
    overdue = report_overdue_days(
        source=source.name,
        period=period,
        listed=plan.listed,
        first_day=source.get_first_day(),
        overdue_after=timedelta(hours=settings.ENV.USAGE_OVERDUE_HOURS),
        now=timezone.now(),
    )
    counts["overdue"] += len(overdue)
