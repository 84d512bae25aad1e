"""Make a check: read both sides, compare, keep what was found, tell people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Final

from django.db import transaction

from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import Severity
from billing_worker.core.errors import BillingError
from billing_worker.core.rating import USAGE_TYPES
from metering.parity.comparison import Comparison, Quantities, Result, Tolerances, compare_quantities
from metering.parity.models import ParityCheck, ParityResult
from metering.parity.selectors import get_quantities, list_open_windows
from metering.parity.sources import ParitySource
from metering.parity.states import ParityState
from metering.parity.windows import Window

PARITY_BREACH: Final = "usage_parity_breach"
PARITY_FAILED: Final = "usage_parity_failed"
SHOWN_BREACHES: Final = 20
#: Windows looked at again in one scheduled run, oldest first.
MAX_RECHECKS: Final = 35
_BATCH: Final = 500


def run_check(
    *,
    source: ParitySource,
    window: Window,
    tolerances: Tolerances,
    now: datetime,
    is_scheduled: bool = False,
) -> ParityCheck:
    """Compare the window and keep the result. A source that can't be used is a `failed` check, not an error.

    A breach opens an alert for the source and window; a later check of the same window that has none closes it.
    Opens its own transaction, after the other side was read.
    """
    check = ParityCheck(
        source=source.name,
        window_start_at=window.start_at,
        window_end_at=window.end_at,
        is_scheduled=is_scheduled,
        checked_at=now,
    )
    try:
        theirs = source.read(window)
    except BillingError as error:
        check.state, check.detail = ParityState.FAILED, str(error)
        _keep(check, (), window)
        return check
    ours = leave_out_unasked(get_quantities(window), theirs, tolerances)
    if window.is_hour:
        ours, theirs = leave_out_daily(ours), leave_out_daily(theirs)
    comparison = compare_quantities(ours=ours, theirs=theirs, tolerances=tolerances)
    check.compared, check.breaches = comparison.compared, len(comparison.breaches)
    check.state = _judge(comparison, window)
    _keep(check, (*comparison.totals, *comparison.accounts), window)
    return check


def leave_out_unasked(ours: Quantities, theirs: Quantities, tolerances: Tolerances) -> Quantities:
    """Our quantities without the sampled meters that the other side never measured.

    An integral is compared where the other side tells of its meter, or a tolerance names it. Impressions always are.
    """
    asked = {meter for _, meter in theirs} | set(tolerances.by_meter) | set(USAGE_TYPES)
    return {key: quantity for key, quantity in ours.items() if key[1] in asked}


def leave_out_daily(quantities: Quantities) -> Quantities:
    """The integrals alone: impressions are totals of days, and a day's total says nothing of its first hour."""
    return {key: quantity for key, quantity in quantities.items() if key[1] not in USAGE_TYPES}


def run_scheduled_checks(
    *, source: ParitySource, settled: Sequence[Window], tolerances: Tolerances, now: datetime
) -> list[ParityCheck]:
    """Check the settled windows, after those of the last weeks that did not agree when last looked at."""
    again = [window for window in list_open_windows(source=source.name, now=now) if window not in settled]
    return [
        run_check(source=source, window=window, tolerances=tolerances, now=now, is_scheduled=True)
        for window in [*islice(again, MAX_RECHECKS), *settled]
    ]


def _judge(comparison: Comparison, window: Window) -> ParityState:
    if comparison.breaches:
        return ParityState.BREACH
    # An hour in which nothing ran is as it should be; a day without any usage proves nothing.
    return ParityState.CLEAN if comparison.compared or window.is_hour else ParityState.EMPTY


@transaction.atomic
def _keep(check: ParityCheck, results: tuple[Result, ...], window: Window) -> None:
    check.save()
    ParityResult.objects.bulk_create(
        [
            ParityResult(
                parity_check=check,
                account_id=result.account_id,
                meter=result.meter,
                ours=result.ours,
                theirs=result.theirs,
                gross_difference=result.gross_difference,
                tolerance_percent=result.tolerance_percent,
                is_breach=result.is_breach,
            )
            for result in results
        ],
        batch_size=_BATCH,
    )
    _report(check, [result for result in results if result.is_breach], window)


def _report(check: ParityCheck, breaches: list[Result], window: Window) -> None:
    subject = f"{check.source} {window}"
    context = {"source": check.source, "check": check.pk}
    if check.state == ParityState.FAILED:
        # Whether it still differs is not known, so an open breach stays open.
        raise_alert(
            name=PARITY_FAILED,
            severity=Severity.WARNING,
            subject=subject,
            detail=check.detail,
            now=check.checked_at,
            context=context,
        )
        return
    resolve_alert(name=PARITY_FAILED, subject=subject, now=check.checked_at)
    if not breaches:
        resolve_alert(name=PARITY_BREACH, subject=subject, now=check.checked_at)
        return
    more = [f"and {len(breaches) - SHOWN_BREACHES} more"] if len(breaches) > SHOWN_BREACHES else []
    raise_alert(
        name=PARITY_BREACH,
        severity=Severity.CRITICAL,
        subject=subject,
        detail="\n".join([*map(describe_result, breaches[:SHOWN_BREACHES]), *more]),
        now=check.checked_at,
        context={**context, "breaches": len(breaches)},
    )


def describe_result(result: Result | ParityResult) -> str:
    """One line: who, what, both sides, and how far they are apart."""
    who = "in total" if result.account_id is None else f"account {result.account_id}"
    return (
        f"{who} {result.meter}: ours {_show(result.ours)}, theirs {_show(result.theirs)}, "
        f"apart by {_show(result.gross_difference)} (tolerance {_show(result.tolerance_percent)} %)"
    )


def _show(value: Decimal) -> str:
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
