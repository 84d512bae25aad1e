"""Tell Stripe to hold a draft, and to let it go: claim, commit, call, settle.

Every step may be the last before a kill. A claim is a committed conditional update; what came of a call is written only
while the claim is still ours. An answer that never came is not guessed: the next worker reads the invoice first and
finds there what the call did. So a draft is held at most once and released once, whoever dies where.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.db.models import F, Max, Q, QuerySet

from billing_worker import gateway
from billing_worker.accounts.selectors import get_account, get_families, get_now_for
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import Severity
from billing_worker.core.periods import Period
from billing_worker.mirror.states import InvoiceStatus
from metering.draft_window.completeness import list_reasons
from metering.draft_window.models import DraftHold
from metering.draft_window.services import HoldPolicy, keep_reasons
from metering.draft_window.states import OPEN_STATES, HoldState, ReleaseCause
from metering.models import MeterEvent
from metering.states import EventState

log = structlog.get_logger(__name__)

HOLD_OVERDUE: Final = "draft_hold_overdue"
HOLD_FAILED: Final = "draft_hold_failed"
#: Longer than a reading (tried three times) and a call may take with the greatest time-out.
CLAIM_EXPIRES_AFTER: Final = timedelta(minutes=6)
#: Stripe finalizes a draft that advances about an hour after it was made, and bills usage that comes until then.
GRACE: Final = timedelta(hours=1)
#: Stripe adds meter events up with a delay: we finalize nothing sooner after the last event was sent.
SETTLE_AFTER_SENDING: Final = timedelta(minutes=5)
ALERT_AFTER_ATTEMPTS: Final = 5
_PAUSES: Final = tuple(timedelta(seconds=seconds) for seconds in (2, 10, 30, 60, 120, 300))


def work_hold(*, hold_id: int, policy: HoldPolicy, now: datetime) -> str:
    """Do what is next for one hold and return its state afterwards. Call it outside a transaction.

    Nothing is next: the state as it is. Another worker is at it, or it is in a pause: the same.
    """
    hold = DraftHold.objects.get(pk=hold_id)
    if hold.state in (HoldState.PLANNED, HoldState.HOLDING):
        _work_planned(hold, policy, now)
    elif hold.state in (HoldState.HELD, HoldState.RELEASING):
        _work_held(hold, policy, now)
    hold.refresh_from_db(fields=["state"])
    return hold.state


def get_pause(attempts: int) -> timedelta:
    """How long to wait after so many tries without a usable answer."""
    return _PAUSES[min(attempts, len(_PAUSES)) - 1]


# -- holding -----------------------------------------------------------------------------------------------------------


def _work_planned(hold: DraftHold, policy: HoldPolicy, now: datetime) -> None:
    claimed = _claim(hold, HoldState.PLANNED, HoldState.HOLDING, "hold_attempts", now)
    if claimed is not None:
        _guard(claimed, HoldState.PLANNED, claimed.hold_attempts, now, lambda: _hold(claimed, policy, now))


def _hold(hold: DraftHold, policy: HoldPolicy, now: datetime) -> None:
    invoice = _read_invoice(hold)
    if invoice is None or invoice.status != InvoiceStatus.DRAFT:
        _settle(hold, HoldState.MISSED, finalized_at=invoice.finalized_at if invoice else None)
        return
    if not invoice.auto_advance:
        if hold.called_at is not None:  # an earlier call of ours, whose answer was lost
            _settle(hold, HoldState.HELD, held_at=now, called_at=None)
        else:
            _settle(hold, HoldState.NOT_NEEDED, note="it did not advance by itself when it came: left alone")
        return
    reasons = _look_again(hold, now)
    if not reasons or not policy.enabled or hold.requested_by:
        _settle(hold, HoldState.NOT_NEEDED, note="let go before Stripe was told to hold it")
        return
    if _note_call(hold, now):
        gateway.set_auto_advance(hold.stripe_invoice_id, False)
        if not _settle(hold, HoldState.HELD, held_at=now, called_at=None):
            _take_back(hold, now)


def _take_back(hold: DraftHold, now: datetime) -> None:
    """Our call came after another worker had taken the hold over: where that one let the draft go, it stays let go.

    Nobody would look at the draft again: it would never be finalized, or an open invoice never collected.
    """
    if DraftHold.objects.filter(pk=hold.pk, state__in=OPEN_STATES).exists():
        return
    log.warning("draft_hold_too_late", invoice=hold.stripe_invoice_id)
    try:
        gateway.set_auto_advance(hold.stripe_invoice_id, True)
    except gateway.GatewayError as error:
        raise_alert(
            name=HOLD_FAILED,
            severity=Severity.CRITICAL,
            subject=hold.stripe_invoice_id,
            detail=f"The invoice of account {hold.account_id} for {hold.period} was let go and then held by a call that"
            f" came too late: turn automatic collection on again at Stripe ({error})",
            now=now,
        )
        raise


# -- releasing ---------------------------------------------------------------------------------------------------------


def _work_held(hold: DraftHold, policy: HoldPolicy, now: datetime) -> None:
    local_now = get_now_for(get_account(hold.account_id), now)
    cause = choose_cause(hold, _look_again(hold, now), policy=policy, local_now=local_now)
    if hold.reasons and hold.finalized_at is None:
        _alert_overdue(hold, policy, local_now=local_now, now=now)
    if cause is None and not may_be_over(hold):
        return
    claimed = _claim(hold, HoldState.HELD, HoldState.RELEASING, "release_attempts", now)
    if claimed is not None:
        _guard(
            claimed,
            HoldState.HELD,
            claimed.release_attempts,
            now,
            lambda: _release(claimed, cause, local_now=local_now, now=now),
        )


def may_be_over(hold: DraftHold) -> bool:
    """Whether to look at a draft that is not to be let go: Stripe told its end, or a release of ours died half done."""
    return hold.finalized_at is not None or hold.state == HoldState.RELEASING


def choose_cause(
    hold: DraftHold, reasons: list[str], *, policy: HoldPolicy, local_now: datetime
) -> ReleaseCause | None:
    """Why the draft may be let go now, None while it is to be held. `local_now` is the time of its customer."""
    if not reasons:
        return ReleaseCause.COMPLETE
    if hold.requested_by:
        return ReleaseCause.PERSON
    if not policy.enabled:
        return ReleaseCause.SWITCHED_OFF
    if policy.after_deadline == "release" and is_overdue(hold, policy, local_now=local_now):
        return ReleaseCause.DEADLINE
    return None


def is_overdue(hold: DraftHold, policy: HoldPolicy, *, local_now: datetime) -> bool:
    """Whether the draft is as old as the deadline, in the time of the account's customer."""
    return local_now >= hold.drafted_at + policy.deadline


def _release(hold: DraftHold, cause: ReleaseCause | None, *, local_now: datetime, now: datetime) -> None:
    """While Stripe's own hour runs the draft is given back to it; after that we finalize it ourselves.

    Without a cause it is only looked at: let go by a worker that died (then for that one's cause), ended by others, or
    held as before.
    """
    invoice = _read_invoice(hold)
    ended = HoldState.RELEASED if hold.called_at is not None else HoldState.OVERTAKEN
    told = ReleaseCause(hold.release_cause) if hold.release_cause else cause
    if invoice is None:
        _settle_release(hold, HoldState.OVERTAKEN, cause, now)
    elif invoice.status != InvoiceStatus.DRAFT:
        _settle_release(hold, ended, told, now, finalized_at=invoice.finalized_at)
    elif invoice.auto_advance:
        _settle_release(hold, ended, told, now)
    elif cause is None:
        _settle(hold, HoldState.HELD, called_at=None, release_cause="")
    elif local_now < invoice.created_at + GRACE:
        if _note_call(hold, now, release_cause=cause):
            gateway.set_auto_advance(hold.stripe_invoice_id, True)
            _settle_release(hold, HoldState.RELEASED, cause, now)
    elif cause is ReleaseCause.COMPLETE and (free_at := _get_settled_at(hold)) and free_at > now:
        note = "complete: waiting until Stripe has added up the last meter events"
        _settle(hold, HoldState.HELD, next_attempt_at=free_at, note=note)
    elif _note_call(hold, now, release_cause=cause):
        done = gateway.finalize_invoice(
            hold.stripe_invoice_id,
            auto_advance=True,
            idempotency_key=f"release-draft-{hold.stripe_invoice_id}-{hold.release_attempts}",
        )
        _settle_release(hold, HoldState.RELEASED, cause, now, finalized_at=done.finalized_at)


def _get_settled_at(hold: DraftHold) -> datetime | None:
    """From when on Stripe has surely added up what was sent for the month; None if nothing was."""
    family = get_families([hold.account_id])[hold.account_id]
    sent = MeterEvent.objects.filter(account__in=family, period=hold.period, state=EventState.SENT)
    last: datetime | None = sent.aggregate(at=Max("sent_at"))["at"]
    return last + SETTLE_AFTER_SENDING if last else None


def _settle_release(
    hold: DraftHold,
    state: HoldState,
    cause: ReleaseCause | None,
    now: datetime,
    *,
    finalized_at: datetime | None = None,
) -> None:
    changes: dict[str, Any] = {"finalized_at": finalized_at} if finalized_at else {}
    if state == HoldState.RELEASED:
        changes |= {"released_at": now, "release_cause": cause}
    if _settle(hold, state, **changes) and cause is not ReleaseCause.DEADLINE:
        resolve_alert(name=HOLD_OVERDUE, subject=hold.stripe_invoice_id, now=now)


# -- both --------------------------------------------------------------------------------------------------------------


def _claim(
    hold: DraftHold, free: HoldState, taken: HoldState, attempts: str, now: datetime
) -> DraftHold | None:
    """Take the hold for one call, committed before it. None: in a pause, or another worker has it."""
    token = secrets.token_hex(16)
    due = Q(state=free) & (Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=now))
    abandoned = Q(state=taken, claimed_at__lte=now - CLAIM_EXPIRES_AFTER)
    changes: dict[str, Any] = {
        "state": taken,
        "claim_token": token,
        "claimed_at": now,
        attempts: F(attempts) + 1,
    }
    if not DraftHold.objects.filter(due | abandoned, pk=hold.pk).update(**changes):
        return None
    return DraftHold.objects.filter(pk=hold.pk, claim_token=token).first()


def _note_call(hold: DraftHold, now: datetime, **why: ReleaseCause) -> bool:
    """Commit that a call is made, so that who finds its effect later knows it for ours. False: the claim is lost."""
    return bool(_mine(hold).update(called_at=now, **why))


def _read_invoice(hold: DraftHold) -> gateway.Invoice | None:
    """The invoice at Stripe; None if there is no such draft any more: somebody deleted it."""
    try:
        return gateway.get_invoice(hold.stripe_invoice_id)
    except gateway.GatewayNotFound:
        return None


def _mine(hold: DraftHold) -> QuerySet[DraftHold]:
    return DraftHold.objects.filter(pk=hold.pk, state=hold.state, claim_token=hold.claim_token)


def _settle(hold: DraftHold, state: HoldState, **changes: Any) -> bool:
    """Write down what came of the claim and give it back; False if it was taken over meanwhile."""
    values = {"note": "", "next_attempt_at": None, **changes}
    settled = _mine(hold).update(state=state, claim_token="", claimed_at=None, **values)
    if settled:
        log.info("draft_hold_settled", invoice=hold.stripe_invoice_id, state=state.value)
    return bool(settled)


def _guard(hold: DraftHold, free: HoldState, attempts: int, now: datetime, work: Callable[[], None]) -> None:
    """Do the work; without a usable answer the hold goes back, and the invoice is read again after a pause."""
    try:
        work()
    except gateway.GatewayError as error:
        _settle(hold, free, next_attempt_at=now + get_pause(attempts), note=str(error)[:500])
        log.warning("draft_hold_put_off", invoice=hold.stripe_invoice_id, error=str(error))
        if attempts >= ALERT_AFTER_ATTEMPTS:
            doing = "held" if free == HoldState.PLANNED else "released"
            raise_alert(
                name=HOLD_FAILED,
                severity=Severity.CRITICAL,
                subject=hold.stripe_invoice_id,
                detail=f"The draft of account {hold.account_id} for {hold.period} could not be {doing} in"
                f" {attempts} tries: {error}",
                now=now,
            )
    else:
        resolve_alert(name=HOLD_FAILED, subject=hold.stripe_invoice_id, now=now)


def _look_again(hold: DraftHold, now: datetime) -> list[str]:
    """Gather the reasons anew and keep them on the row."""
    period = Period.parse(hold.period)
    hold.reasons = keep_reasons(list_reasons(period, payer_ids=[hold.account_id])[hold.account_id])
    DraftHold.objects.filter(pk=hold.pk).update(reasons=hold.reasons, looked_at=now)
    return list(hold.reasons)


def _alert_overdue(hold: DraftHold, policy: HoldPolicy, *, local_now: datetime, now: datetime) -> None:
    if not is_overdue(hold, policy, local_now=local_now):
        return
    hours = policy.deadline // timedelta(hours=1)
    then = (
        "it is finalized without it"
        if policy.after_deadline == "release"
        else "it stays held until somebody acts"
    )
    raise_alert(
        name=HOLD_OVERDUE,
        severity=Severity.CRITICAL,
        subject=hold.stripe_invoice_id,
        detail=f"The usage of account {hold.account_id} for {hold.period} is not complete {hours} hours after its"
        f" draft: {then}. {'; '.join(hold.reasons[:5])}",
        now=now,
        context={"account": hold.account_id, "period": hold.period},
    )
