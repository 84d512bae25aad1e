"""Holds are planned by the webhook and asked for by people here; `working` does what they say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import structlog
from django.db import transaction
from django.db.models import Subquery

from billing_worker.accounts.audit import record_audit
from billing_worker.alerts.kicks import kick
from billing_worker.core.errors import Conflict, InvalidInput
from billing_worker.core.periods import Period
from billing_worker.mirror.models import StripeInvoice
from billing_worker.mirror.states import InvoiceStatus, LineKind
from metering.draft_window.completeness import list_reasons
from metering.draft_window.models import DraftHold
from metering.draft_window.states import OPEN_STATES, HoldState

log = structlog.get_logger(__name__)

CYCLE = "subscription_cycle"
MAX_REASON = 400
#: Reasons kept on the row, so that a family of hundreds doesn't fill it.
REASONS_KEPT = 50
#: Lines of these kinds are not usage. A kind that a later meter adds is.
NOT_USAGE = (LineKind.SUB, LineKind.MANAGED, LineKind.CUSTOM)


class HoldIsOver(Conflict):
    """The draft is not held (any more): there is nothing to release. Look at the hold's state."""

    code = "hold_is_over"


class ReasonMissing(InvalidInput):
    """Releasing a draft before its usage is complete needs a sentence that says why."""

    code = "reason_missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldPolicy:
    """What the settings say: whether drafts are held, how long, and what happens then."""

    enabled: bool = True
    deadline: timedelta = timedelta(hours=48)
    after_deadline: Literal["release", "keep"] = "release"


def plan_hold(*, invoice: StripeInvoice, policy: HoldPolicy, now: datetime) -> DraftHold | None:
    """Decide about a draft that Stripe has just made. Call it in the webhook's transaction; it calls nobody.

    None: the invoice is none of ours to hold (see `get_usage_period`), or holding is switched off. Otherwise one row
    for the invoice, however often and in whatever order its events come; a draft to be held is taken up after the
    commit.
    """
    period = get_usage_period(invoice)
    if period is None or invoice.account_id is None or not policy.enabled:
        return None
    existing = DraftHold.objects.filter(stripe_invoice_id=invoice.stripe_invoice_id).first()
    if existing is not None:
        return existing
    reasons = list_reasons(period, payer_ids=[invoice.account_id])[invoice.account_id]
    state = _choose_state(invoice, reasons)
    hold = DraftHold.objects.create(
        stripe_invoice_id=invoice.stripe_invoice_id,
        account_id=invoice.account_id,
        period=str(period),
        drafted_at=invoice.created_at,
        state=state,
        reasons=keep_reasons(reasons),
        looked_at=now,
        finalized_at=invoice.finalized_at,
        created_at=now,
    )
    log.info("draft_hold_planned", invoice=hold.stripe_invoice_id, state=state.value, reasons=len(reasons))
    if state == HoldState.PLANNED:
        kick("metering.work_draft_hold", hold.pk)
    return hold


def _choose_state(invoice: StripeInvoice, reasons: list[str]) -> HoldState:
    if not reasons:
        return HoldState.NOT_NEEDED
    return HoldState.PLANNED if invoice.status == InvoiceStatus.DRAFT else HoldState.MISSED


def get_usage_period(invoice: StripeInvoice) -> Period | None:
    """The month whose usage a draft bills in arrears; None for an invoice that is not to be held.

    Only a subscription's cycle invoice of an account of ours that has lines of metered usage, for the month that ended
    when it was made: not the first invoice (it bills a fee in advance), none made by hand, none of other customers.
    """
    if invoice.account_id is None or invoice.billing_reason != CYCLE:
        return None
    usage = invoice.lines.exclude(kind__in=NOT_USAGE).filter(invoice_item="")
    ends = [line.period_end for line in usage if line.period_end <= invoice.created_at]
    if not ends:
        return None
    period = Period.of(max(ends) - timedelta(microseconds=1))
    return period if period.end_at == max(ends) else None


def keep_reasons(reasons: list[str]) -> list[str]:
    """The reasons as they are stored: the first ones, and how many more there are."""
    if len(reasons) <= REASONS_KEPT:
        return reasons
    return [*reasons[:REASONS_KEPT], f"and {len(reasons) - REASONS_KEPT} more"]


def record_finalized(*, stripe_invoice_id: str) -> None:
    """Note when a draft that we held was finalized, as the mirror has it. Call it in the webhook's transaction."""
    finalized_at = StripeInvoice.objects.filter(stripe_invoice_id=stripe_invoice_id).values("finalized_at")
    DraftHold.objects.filter(stripe_invoice_id=stripe_invoice_id, finalized_at__isnull=True).update(
        finalized_at=Subquery(finalized_at[:1])
    )


@transaction.atomic
def request_release(*, hold_id: int, actor: str, reason: str, now: datetime) -> DraftHold:
    """A person wants the draft finalized although its usage is not complete. Audited; carried out by the worker.

    Raises:
        ReasonMissing: no reason was given.
        HoldIsOver: the draft is not held (any more).
    """
    reason = reason.strip()[:MAX_REASON]
    if not reason:
        raise ReasonMissing("say why: the reason is kept with the hold", fields={"reason": ["is missing"]})
    hold = DraftHold.objects.select_for_update().get(pk=hold_id)
    if hold.state not in OPEN_STATES:
        raise HoldIsOver(f"invoice {hold.stripe_invoice_id} is not held: {hold.get_state_display()}")
    hold.requested_by, hold.request_reason = actor, reason
    hold.next_attempt_at = None
    hold.save(update_fields=["requested_by", "request_reason", "next_attempt_at"])
    record_audit(
        actor=actor,
        action="metering.draft_released",
        subject_type="draft_hold",
        subject_id=hold.stripe_invoice_id,
        at=now,
        reason=reason,
        before={"state": hold.state, "reasons": hold.reasons},
    )
    kick("metering.work_draft_hold", hold.pk)
    return hold
