"""Managed services that are requested from us, not from the old service. The same reference is the same job."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Final

from django.db import IntegrityError, transaction

from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.models import FIRST_REQUESTED_JOB, Account, ManagedJob
from billing_worker.accounts.selectors import get_account, get_billers, get_now_for, get_payer
from billing_worker.accounts.states import AccountStatus, Biller, JobSource, JobStatus
from billing_worker.core.errors import Conflict, InvalidInput
from billing_worker.core.money import format_minor
from billing_worker.core.periods import Period

#: Below 2^53, so that every JSON reader takes an id as it is.
_IDS: Final = 2**53 - FIRST_REQUESTED_JOB


class JobDiffers(Conflict):
    """The reference belongs to another job. Use a new reference, or state the same job again."""

    code = "reference_in_use"


class NotBilledByStripe(Conflict):
    """The old service bills this account for that month: put the job into its tables, it is billed there."""

    code = "billed_by_legacy"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A finished piece of managed service. `amount_minor` is exact, in the currency's minor unit."""

    reference: str
    account_id: int
    amount_minor: int
    currency: str
    title: str
    completed_on: date


def request_job(*, request: JobRequest, author: str, now: datetime) -> tuple[ManagedJob, bool]:
    """Keep a requested job: `(job, created)`. The same request again changes nothing.

    The reference is unique in the database, so two requests at the same instant make one job.

    Raises:
        UnknownAccount: nothing was imported under this id.
        InvalidInput: the currency is not the account's, the day lies in the future, or the account is closed.
        JobDiffers: the reference stands for another job.
        NotBilledByStripe: the old service bills the account, or who pays for it, in that month.
    """
    held = ManagedJob.objects.filter(reference=request.reference).first()
    if held is None:
        account = get_account(request.account_id)
        _check(request, account, now=now)
        try:
            with transaction.atomic():
                return _create(request, author=author, now=now), True
        except IntegrityError:
            held = ManagedJob.objects.filter(reference=request.reference).first()
            if held is None:
                raise
    if _describe(held) != request:
        raise JobDiffers(
            f"{request.reference} is {held.title!r} of account {held.account_id} on {held.completed_at:%Y-%m-%d} "
            f"at {format_minor(held.amount_minor, held.currency)}, and not what was sent "
            f"({format_minor(request.amount_minor, request.currency)}, account {request.account_id})"
        )
    return held, False


def _check(request: JobRequest, account: Account, *, now: datetime) -> None:
    errors: dict[str, list[str]] = {}
    if request.currency != account.currency:
        errors["currency"] = [f"must be {account.currency}, the account's"]
    if account.status == AccountStatus.CLOSED:
        errors["account_id"] = ["the account is closed"]
    if request.completed_on > get_now_for(account, now).date():
        errors["completed_on"] = ["lies in the future"]
    if errors:
        raise InvalidInput("some fields are not valid", fields=errors)
    period, payer = Period.of(request.completed_on), get_payer(account)
    # Both, as for the old service's jobs: it puts a child's on its parent's invoice.
    payer_ids = {account.pk, payer.pk} if payer else {account.pk}
    if payer is None or set(get_billers(period, account_ids=payer_ids).values()) != {Biller.STRIPE}:
        raise NotBilledByStripe(f"the old service bills account {account.pk} for {period}")


def _create(request: JobRequest, *, author: str, now: datetime) -> ManagedJob:
    job = ManagedJob.objects.create(
        id=FIRST_REQUESTED_JOB + secrets.randbelow(_IDS),
        account_id=request.account_id,
        title=request.title,
        amount_minor=request.amount_minor,
        currency=request.currency,
        status=JobStatus.DONE,
        completed_at=datetime.combine(request.completed_on, time(12), UTC),
        source=JobSource.REQUEST,
        reference=request.reference,
        requested_by=author,
        requested_at=now,
    )
    record_audit(
        actor=author,
        action="accounts.job_requested",
        subject_type="Account",
        subject_id=request.account_id,
        at=now,
        after={"reference": request.reference, "amount_minor": request.amount_minor, "title": request.title},
    )
    return job


def _describe(job: ManagedJob) -> JobRequest:
    assert job.completed_at is not None
    assert job.reference is not None
    return JobRequest(
        reference=job.reference,
        account_id=job.account_id,
        amount_minor=job.amount_minor,
        currency=job.currency,
        title=job.title,
        completed_on=job.completed_at.date(),
    )
