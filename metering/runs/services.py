"""The roll-up with a row kept of each run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from billing_worker.core.periods import Period
from metering.runs.models import RollUpRun
from metering.samples.roll_up import roll_up_samples
from metering.services.roll_up import RollUpResult, add_result, roll_up_usage
from metering.services.seam import Seam

#: How long rows are kept. The events themselves say what was made of what; rows say how runs went.
KEPT_FOR = timedelta(days=90)


def start_run(*, trigger: str, period: Period | None, now: datetime) -> RollUpRun:
    """Write down that a run begins at `now`, and drop rows that are too old to keep."""
    RollUpRun.objects.filter(started_at__lt=now - KEPT_FOR).delete()
    return RollUpRun.objects.create(trigger=trigger, period=str(period) if period else "", started_at=now)


def do_run(
    run: RollUpRun, *, grace: timedelta, seam: Seam, clock: Callable[[], datetime]
) -> Iterator[RollUpResult]:
    """Both roll-ups for this run, which is completed at the end or when it breaks off; yields the result so far.

    Opens its own transactions; call it outside of any.
    """
    result = RollUpResult()
    period = Period.parse(run.period) if run.period else None
    try:
        for result in roll_up_usage(now=run.started_at, grace=grace, seam=seam, period=period):
            yield result
        for part in roll_up_samples(now=run.started_at, grace=grace, seam=seam, period=period):
            add_result(result, part)
            yield result
    except Exception as error:
        _finish(run, result, clock(), f"{type(error).__name__}: {error}")
        raise
    _finish(run, result, clock(), "")


def _finish(run: RollUpRun, result: RollUpResult, now: datetime, error: str) -> None:
    run.finished_at, run.error = now, error[:500]
    run.months, run.records, run.events = result.months, result.records, result.events
    run.samples = result.samples
    run.skipped, run.without_customer = result.skipped, result.without_customer
    run.save()
