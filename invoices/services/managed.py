"""Managed-service jobs to Stripe invoice items: the exact amount, once."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.db.models import DateTimeField, F, Q, QuerySet, Value
from django.db.models.functions import Coalesce

from billing_worker import gateway
from billing_worker.accounts.models import ManagedJob
from billing_worker.accounts.selectors import get_billers, get_payer, select_jobs_due
from billing_worker.accounts.states import Biller
from billing_worker.alerts.services import raise_alert
from billing_worker.alerts.states import Severity
from billing_worker.core.periods import Period
from billing_worker.mirror.models import StripeInvoice
from billing_worker.mirror.states import InvoiceStatus
from invoices.models import ManagedCharge
from invoices.states import ChargeState

log = structlog.get_logger(__name__)

#: Stripe remembers an idempotency key for at least 24 h; an hour is left for clocks that differ.
KEY_LIVES_FOR: Final = timedelta(hours=23)
CLAIM_EXPIRES_AFTER: Final = timedelta(minutes=5)
ALERT: Final = "managed_charge_failed"


@dataclass(slots=True)
class BillingReport:
    """What one run did, and what it found. `skipped` are jobs of accounts that the other side bills or that have no
    customer yet; `given_up` are those that a person took out."""

    created: int = 0
    billed: int = 0
    waiting: int = 0
    rejected: int = 0
    unknown: int = 0
    given_up: int = 0
    skipped: int = 0


def plan_charges(*, period: Period) -> tuple[int, int]:
    """Write a charge for every job due in the period whose account Stripe bills then. (created, skipped)

    Unique on the job: a second run, or a second worker, creates nothing. A job of an account without a Stripe customer
    (its own or its payer's) is skipped until it has one.
    """
    jobs = list(select_jobs_due(period).select_related("account__parent__parent").filter(charge__isnull=True))
    payers = {job.pk: get_payer(job.account) for job in jobs}
    billers = get_billers(
        period,
        account_ids={job.account_id for job in jobs} | {payer.pk for payer in payers.values() if payer},
    )
    charges = []
    for job in jobs:
        payer = payers[job.pk]
        # Both: the old service puts a child's jobs on its parent's invoice, so either lease there means it bills them.
        if payer is None or {billers[job.account_id], billers[payer.pk]} != {Biller.STRIPE}:
            continue
        charges.append(_build_charge(job, payer.pk, str(payer.stripe_customer_id), period))
    created = ManagedCharge.objects.bulk_create(charges, ignore_conflicts=True)
    return len(created), len(jobs) - len(charges)


def _build_charge(job: ManagedJob, payer_id: int, customer: str, period: Period) -> ManagedCharge:
    if job.completed_at is None:
        raise ValueError(f"job {job.pk} is done without a date")
    return ManagedCharge(
        job=job,
        payer_id=payer_id,
        customer=customer,
        period=str(period),
        amount_minor=job.amount_minor,
        currency=job.currency,
        description=job.title,
        completed_at=job.completed_at,
        state=ChargeState.PENDING,
    )


def bill_managed_jobs(*, period: Period, now: datetime) -> BillingReport:
    """Bill the period's finished jobs as invoice items on their payers' customers. Call it outside a transaction.

    Each lands on the customer's next invoice: run it before the invoice of the period's end is finalized. Safe to
    repeat at any time: what is at Stripe stays as it is.
    """
    report = BillingReport()
    report.created, report.skipped = plan_charges(period=period)
    release_stale_charges(now=now)
    for charge_id in ManagedCharge.objects.filter(period=str(period), state=ChargeState.PENDING).values_list(
        "pk", flat=True
    ):
        send_charge(charge_id=charge_id, now=now)
    for charge in ManagedCharge.objects.filter(period=str(period)):
        _count(report, charge)
    return report


def _count(report: BillingReport, charge: ManagedCharge) -> None:
    match charge.state:
        case ChargeState.BILLED:
            report.billed += 1
        case ChargeState.REJECTED:
            report.rejected += 1
        case ChargeState.UNKNOWN:
            report.unknown += 1
        case ChargeState.GIVEN_UP:
            report.given_up += 1
        case _:
            report.waiting += 1


def send_charge(*, charge_id: int, now: datetime) -> bool:
    """Ask Stripe for the invoice item of one charge. True if Stripe has it.

    It goes on the draft of its month if there is one, else on the customer's next invoice: before the month's end that
    is the invoice of the month, after its finalization the one of the month that follows. The line's period says when
    the job was done.

    Claimed and committed before the call. The idempotency key comes from the job, so an answer that got lost is fetched
    by asking again; once Stripe may have forgotten the key, its list of invoice items is read first.
    """
    token = str(uuid.uuid4())
    pending = ManagedCharge.objects.filter(pk=charge_id, state=ChargeState.PENDING)
    claimed = pending.filter(_is_protected(now)).update(
        state=ChargeState.SENDING,
        claim_token=token,
        claimed_at=now,
        attempts=F("attempts") + 1,
        first_sent_at=Coalesce("first_sent_at", Value(now, output_field=DateTimeField())),
    )
    if not claimed:
        for charge in pending.exclude(_is_protected(now)):
            _doubt(charge, pending, now=now)
        return False
    charge = ManagedCharge.objects.select_related("job").get(pk=charge_id)
    if charge.attempts == 1:
        # Decided once, before the first call: under one idempotency key every request must be the same.
        charge.draft = find_draft(charge)
        if charge.draft and not _mine(charge).update(draft=charge.draft):
            return False
    return _send(charge, now=now)


def find_draft(charge: ManagedCharge) -> str:
    """The payer's open draft that bills the month in which the job was done; empty if Stripe has none (any more)."""
    drafts = StripeInvoice.objects.filter(
        customer=charge.customer,
        status=InvoiceStatus.DRAFT,
        billing_reason="subscription_cycle",
        currency=charge.currency,
        period_start__lte=charge.completed_at,
        period_end__gt=charge.completed_at,
    )
    return drafts.order_by("-created_at").values_list("stripe_invoice_id", flat=True).first() or ""


def _send(charge: ManagedCharge, *, now: datetime) -> bool:
    try:
        item = gateway.create_invoice_item(
            customer=charge.customer,
            amount_minor=charge.amount_minor,
            currency=charge.currency,
            description=charge.description,
            period_start=charge.completed_at,
            period_end=charge.completed_at,
            metadata={
                "kind": "managed",
                "account_id": str(charge.job.account_id),
                "job_id": str(charge.job_id),
            },
            invoice=charge.draft or None,
            idempotency_key=charge.idempotency_key,
        )
    except gateway.GatewayRejected as error:
        if charge.draft:
            return _leave_draft(charge, error, now=now)
        return _settle(charge, ChargeState.REJECTED, error, now=now)
    except (gateway.GatewayUnavailable, gateway.GatewayRateLimited) as error:
        is_open = isinstance(error, gateway.GatewayUnavailable) and error.outcome_unknown
        return _settle(charge, ChargeState.SENDING if is_open else ChargeState.PENDING, error, now=now)
    except gateway.GatewayNotConfigured as error:
        _settle(charge, ChargeState.PENDING, error, now=now)
        raise
    _mine(charge).update(
        state=ChargeState.BILLED, stripe_invoice_item_id=item.id, billed_at=now, last_error=""
    )
    log.info("managed_job_billed", job=charge.job_id, item=item.id)
    return True


def _mine(charge: ManagedCharge) -> QuerySet[ManagedCharge]:
    return ManagedCharge.objects.filter(
        pk=charge.pk, state=ChargeState.SENDING, claim_token=charge.claim_token
    )


def _leave_draft(charge: ManagedCharge, error: Exception, *, now: datetime) -> bool:
    """The draft takes nothing more (it was finalized meanwhile): the customer's next invoice does."""
    moved = _mine(charge).update(
        state=ChargeState.PENDING, draft="", first_sent_at=None, last_error=str(error)[:500]
    )
    log.info("managed_job_misses_draft", job=charge.job_id, draft=charge.draft, error=str(error))
    return bool(moved) and send_charge(charge_id=charge.pk, now=now)


def _settle(charge: ManagedCharge, state: ChargeState, error: Exception, *, now: datetime) -> bool:
    was_first = state == ChargeState.PENDING and charge.first_sent_at == charge.claimed_at
    # A call that certainly did nothing does not start the key's life.
    first_sent_at = None if was_first else charge.first_sent_at
    _mine(charge).update(state=state, last_error=str(error)[:500], first_sent_at=first_sent_at)
    log.warning("managed_job_not_billed", job=charge.job_id, state=state.value, error=str(error))
    if state == ChargeState.REJECTED:
        raise_alert(
            name=ALERT,
            severity=Severity.CRITICAL,
            subject=f"job {charge.job_id}",
            detail=f"Stripe refused the invoice item: {error}",
            now=now,
            context={"charge": charge.pk},
        )
    return False


def release_stale_charges(*, now: datetime, older_than: timedelta = CLAIM_EXPIRES_AFTER) -> int:
    """Charges whose outcome is open go back to the queue while their key protects them, else they are in doubt."""
    stale = ManagedCharge.objects.filter(state=ChargeState.SENDING, claimed_at__lte=now - older_than)
    released = stale.filter(_is_protected(now)).update(state=ChargeState.PENDING)
    for charge in stale.exclude(_is_protected(now)):
        _doubt(charge, _mine(charge), now=now)
    return released


def _is_protected(now: datetime) -> Q:
    """Never sent, or sent so lately that Stripe still knows the idempotency key and would not do it twice."""
    return Q(first_sent_at__isnull=True) | Q(first_sent_at__gt=now - KEY_LIVES_FOR)


def _doubt(charge: ManagedCharge, mine: QuerySet[ManagedCharge], *, now: datetime) -> None:
    if mine.update(state=ChargeState.UNKNOWN):
        raise_alert(
            name=ALERT,
            severity=Severity.WARNING,
            subject=f"job {charge.job_id}",
            detail="Nobody knows whether Stripe has the invoice item; its list is read before it is billed again",
            now=now,
            context={"charge": charge.pk},
        )


def list_open_periods(*, now: datetime) -> list[Period]:
    """Months that the schedule bills, in order: this one, the two before it, and those of charges that wait."""
    this = Period.of(now)
    last = this.previous()
    waiting = ManagedCharge.objects.filter(state__in=[ChargeState.PENDING, ChargeState.SENDING])
    named = {Period.parse(text) for text in waiting.order_by().values_list("period", flat=True).distinct()}
    return sorted(named | {last.previous(), last, this}, key=str)
