"""What finance decides about true-ups. Audited with the reason; the worker carries it out after the commit."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction

from billing_worker.accounts.audit import record_audit
from billing_worker.alerts.kicks import kick
from billing_worker.alerts.metrics import TRUE_UPS
from billing_worker.core.errors import Conflict, InvalidInput, NotAllowed
from metering.models import MeterEvent, UsageRecord
from metering.states import EventState
from metering.true_ups.crediting import plan_credit
from metering.true_ups.models import TrueUp
from metering.true_ups.pricing import Position, price_units
from metering.true_ups.proposing import describe_price, lock_payer, tell_waiting
from metering.true_ups.states import WAITING_STATES, TrueUpState

MAX_REASON = 400


class ReasonMissing(InvalidInput):
    """A decision about money needs a sentence that says why. Type one beside the action."""

    code = "reason_missing"


class AlreadyDecided(Conflict):
    """Somebody was faster: look at the true-up's state."""

    code = "already_decided"


class EarlierUndecided(Conflict):
    """Its amount builds on an earlier true-up of the same month and meter: decide that one first."""

    code = "earlier_undecided"


class FiguresChanged(Conflict):
    """What it comes to has changed since it was shown. Nothing was decided: look at the new figures."""

    code = "figures_changed"


class OwnFigures(NotAllowed):
    """Who stated the usage doesn't approve its money: somebody else has to."""

    code = "own_figures"


def approve_true_up(*, true_up_id: int, actor: str, reason: str, now: datetime) -> TrueUp:
    """Bill (or credit) a proposed true-up, or try one again that Stripe refused. Carried out by the worker.

    Raises:
        ReasonMissing: no reason was given.
        AlreadyDecided: it does not wait for a decision.
        OwnFigures: the same person stated the usage.
        EarlierUndecided: an earlier one of the same tiers has to be decided first.
        FiguresChanged: the amount is another one now; the new figures are stored.
        NothingToCredit: no invoice can be credited with the amount.
    """
    reason = _check_reason(reason)
    if reprice_true_up(true_up_id=true_up_id):
        raise FiguresChanged(
            f"true-up {true_up_id} comes to another amount by now; its figures were brought up to date:"
            " look at them and decide again"
        )
    return _approve(true_up_id, actor, reason, now)


@transaction.atomic
def _approve(true_up_id: int, actor: str, reason: str, now: datetime) -> TrueUp:
    true_up = _lock(true_up_id)
    if _stated_by(true_up, actor):
        raise OwnFigures(f"you stated the usage of {true_up}: somebody else approves it")
    earlier = _select_same(true_up).filter(pk__lt=true_up.pk, state__in=WAITING_STATES).order_by("pk").first()
    if earlier is not None:
        raise EarlierUndecided(f"decide true-up {earlier.pk} first: this amount builds on it")
    if true_up.state == TrueUpState.PROPOSED and _price_anew(true_up):
        raise FiguresChanged(f"true-up {true_up.pk} changed just now: look at its figures and decide again")
    true_up.approvals += 1
    if true_up.is_credit:
        plan = plan_credit(true_up)
        true_up.credited_invoice_id, true_up.credit_lines = plan.invoice_id, plan.dump_lines()
    return _decide(true_up, TrueUpState.APPROVED, actor=actor, reason=reason, now=now)


@transaction.atomic
def reject_true_up(*, true_up_id: int, actor: str, reason: str, now: datetime) -> TrueUp:
    """Never bill these units. Later proposals of the same tiers are priced without them.

    Raises:
        ReasonMissing: no reason was given.
        AlreadyDecided: it does not wait for a decision.
    """
    reason = _check_reason(reason)
    true_up = _lock(true_up_id)
    true_up = _decide(true_up, TrueUpState.REJECTED, actor=actor, reason=reason, now=now)
    MeterEvent.objects.filter(true_up_part__true_up=true_up, state=EventState.SKIPPED).update(
        reason=f"true-up {true_up.pk} rejected by {actor}: {reason}"[:500]
    )
    later = _select_same(true_up).filter(
        pk__gt=true_up.pk, state__in=[TrueUpState.PROPOSED, TrueUpState.NO_CHARGE]
    )
    for other in later.order_by("pk"):
        _price_anew(other)
        tell_waiting(other, now=now)
    return true_up


def reprice_true_up(*, true_up_id: int) -> bool:
    """Bring an open proposal's figures up to date. True if they were others."""
    with transaction.atomic():
        true_up = TrueUp.objects.get(pk=true_up_id)
        lock_payer(true_up.payer_id)
        true_up.refresh_from_db()
        return true_up.state == TrueUpState.PROPOSED and _price_anew(true_up)


def _check_reason(reason: str) -> str:
    reason = reason.strip()[:MAX_REASON]
    if not reason:
        raise ReasonMissing("say why: the reason is kept with the true-up", fields={"reason": ["is missing"]})
    return reason


def _lock(true_up_id: int) -> TrueUp:
    """Raises AlreadyDecided unless it waits for a person."""
    payer_id = TrueUp.objects.values_list("payer_id", flat=True).get(pk=true_up_id)
    lock_payer(payer_id)
    true_up = TrueUp.objects.select_for_update().get(pk=true_up_id)
    if true_up.state not in WAITING_STATES:
        raise AlreadyDecided(f"true-up {true_up.pk} is {true_up.get_state_display().lower()} already")
    return true_up


def _stated_by(true_up: TrueUp, actor: str) -> bool:
    """Whether this person stated any of the usage that the true-up bills."""
    stated = UsageRecord.objects.filter(
        feed__account=true_up.account_id, feed__period=true_up.period, usage_type=true_up.meter, author=actor
    )
    return stated.exists()


def _select_same(true_up: TrueUp) -> Any:
    return TrueUp.objects.filter(
        payer=true_up.payer_id, meter=true_up.meter, period_start=true_up.period_start
    )


def _price_anew(true_up: TrueUp) -> bool:
    position = Position(
        payer_id=true_up.payer_id,
        meter=true_up.meter,
        start=true_up.period_start,
        end=true_up.period_end,
        invoice_id=true_up.stripe_invoice_id,
    )
    price = price_units(position=position, account=true_up.account, units=true_up.units, before=true_up.pk)
    values = describe_price(price)
    changed = [name for name, value in values.items() if getattr(true_up, name) != value]
    for name in changed:
        setattr(true_up, name, values[name])
    if changed:
        true_up.save(update_fields=changed)
    return bool({"amount_minor", "arithmetic", "state"} & set(changed))


def _decide(true_up: TrueUp, state: TrueUpState, *, actor: str, reason: str, now: datetime) -> TrueUp:
    before = true_up.state
    true_up.state = state
    true_up.decided_at, true_up.decided_by, true_up.decision_reason = now, actor, reason
    true_up.next_attempt_at = None
    true_up.save()
    record_audit(
        actor=actor,
        action=f"metering.true_up_{state.value}",
        subject_type="true_up",
        subject_id=true_up.pk,
        at=now,
        reason=reason,
        before={"state": before},
        after={
            "state": state.value,
            "account": true_up.account_id,
            "period": true_up.period,
            "meter": true_up.meter,
            "units": true_up.units,
            "amount_minor": true_up.amount_minor,
            "currency": true_up.currency,
        },
    )
    TRUE_UPS.labels(state=state.value).inc()
    tell_waiting(true_up, now=now)
    if state == TrueUpState.APPROVED:
        kick("metering.work_true_up", true_up.pk)
    return true_up
