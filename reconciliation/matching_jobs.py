"""Compare managed-service jobs line by line: two jobs billed wrongly in opposite directions are two errors. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from billing_worker.core.money import format_minor
from reconciliation.ledger_lines import JobTerms, LedgerEntry, LedgerLine
from reconciliation.states import DriftCause

#: A job's number, None where the ledger does not say, and the amount billed for it.
JobLine = tuple[int | None, int]


def compare_jobs(
    legacy: Sequence[LedgerLine], stripe: Sequence[LedgerLine], *, jobs: Sequence[JobTerms], currency: str
) -> tuple[DriftCause, int, str] | None:
    """Cause, gross difference in minor units and explanation; None if both sides billed the same jobs alike."""
    extra_legacy, extra_stripe = _subtract(legacy, stripe)
    if not extra_legacy and not extra_stripe:
        return None
    known = {job.job_id: job for job in jobs}
    cause = _find_cause(legacy, stripe, extra_legacy, extra_stripe, known)
    parts = [
        *(f"{_name_side(item, known)} {_describe(item, known, currency)}" for item in extra_legacy),
        *(f"Stripe billed {_describe(item, known, currency)}" for item in extra_stripe),
    ]
    return cause, _gross(extra_legacy, extra_stripe), "; ".join(parts)


def add_requested_jobs(
    legacy: LedgerEntry, jobs: Sequence[JobTerms], stripe: LedgerEntry | None = None
) -> LedgerEntry:
    """The legacy side with the period's jobs that were requested over our API: their records say what they cost.

    The old service knows nothing of them, so without this each would be a difference, and a wrong amount would be none.
    A tax that is inside the price at Stripe is inside the record's amount too, and counts on both sides.
    """
    inside = {line.job_id: line.inclusive_tax_minor for line in stripe.lines} if stripe else {}
    requested = tuple(
        LedgerLine(
            kind="managed",
            amount_minor=job.amount_minor - inside.get(job.job_id, 0),
            quantity=1,
            unit_amount_decimal=None,
            description=job.title,
            job_id=job.job_id,
        )
        for job in jobs
        if job.is_requested and job.is_due
    )
    if not requested:
        return legacy
    taxes = dict(legacy.taxes)
    if tax := sum(inside.get(line.job_id, 0) for line in requested):
        taxes[""] = tax
    return replace(legacy, lines=legacy.lines + requested, taxes=taxes)


def _subtract(
    legacy: Sequence[LedgerLine], stripe: Sequence[LedgerLine]
) -> tuple[list[JobLine], list[JobLine]]:
    """What each side has over the other, once equal jobs, and equal amounts of which one has no number, are paired."""
    theirs = Counter((line.job_id, line.amount_minor) for line in legacy)
    ours = Counter((line.job_id, line.amount_minor) for line in stripe)
    extra_legacy = sorted((theirs - ours).elements(), key=_sort_key)
    extra_stripe = sorted((ours - theirs).elements(), key=_sort_key)
    for item in list(extra_legacy):
        twin = next(
            (
                other
                for other in extra_stripe
                if other[1] == item[1] and (item[0] is None or other[0] is None)
            ),
            None,
        )
        if twin is not None:
            extra_legacy.remove(item)
            extra_stripe.remove(twin)
    return extra_legacy, extra_stripe


def _sort_key(item: JobLine) -> tuple[int, int]:
    return (item[0] or 0, item[1])


def _name_side(item: JobLine, jobs: Mapping[int, JobTerms]) -> str:
    job = jobs.get(item[0]) if item[0] is not None else None
    return "a request asks for" if job is not None and job.is_requested else "legacy billed"


def _gross(extra_legacy: list[JobLine], extra_stripe: list[JobLine]) -> int:
    balance: Counter[int | None] = Counter()
    for job_id, amount in extra_stripe:
        balance[job_id] += amount
    for job_id, amount in extra_legacy:
        balance[job_id] -= amount
    return sum(abs(amount) for amount in balance.values())


def _find_cause(
    legacy: Sequence[LedgerLine],
    stripe: Sequence[LedgerLine],
    extra_legacy: list[JobLine],
    extra_stripe: list[JobLine],
    jobs: Mapping[int, JobTerms],
) -> DriftCause:
    if _is_billed_again(legacy, extra_legacy, jobs) or _is_billed_again(stripe, extra_stripe, jobs):
        return DriftCause.JOB_BILLED_AGAIN
    if not extra_stripe:
        return DriftCause.JOB_MISSING_IN_STRIPE
    if not extra_legacy:
        return DriftCause.JOB_MISSING_IN_LEGACY
    same = {job_id for job_id, _ in extra_legacy} & {job_id for job_id, _ in extra_stripe}
    return DriftCause.JOB_AMOUNT_DIFFERS if same else DriftCause.UNEXPLAINED


def _is_billed_again(lines: Iterable[LedgerLine], extra: list[JobLine], jobs: Mapping[int, JobTerms]) -> bool:
    """A surplus job stands there twice, or its record says that this period is not its own."""
    times = Counter(line.job_id for line in lines)
    return any(
        job_id is not None and (times[job_id] > 1 or (job_id in jobs and not jobs[job_id].is_due))
        for job_id, _ in extra
    )


def _describe(item: JobLine, jobs: Mapping[int, JobTerms], currency: str) -> str:
    job_id, amount = item
    if job_id is None:
        return f"{format_minor(amount, currency)} for a job without a number"
    text = f"job {job_id} at {format_minor(amount, currency)}"
    job = jobs.get(job_id)
    if job is None:
        return f"{text} (no such job record)"
    if job.amount_minor != amount:
        return f"{text} (its record says {format_minor(job.amount_minor, currency)})"
    return text if job.is_due else f"{text} (its record says that it does not belong to this period)"
