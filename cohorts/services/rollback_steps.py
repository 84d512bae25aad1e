"""What a rollback leads to, payer by payer: Stripe first, then the lease, so that each month is billed by one side.

Nothing is billed before a month turns, and legacy bills a month after its end. So the order is: Stripe is told to end
the subscription at the turn; once it says that it will, the leases from there on go to legacy. Killed in between, the
next run reads the subscription again and does what is left. If Stripe began the month before it could be told, the
month stays Stripe's and the payer goes a month later. A withdrawal is the same the other way round. The lease follows
what Stripe has confirmed; a run that comes late finds what happened and makes the lease say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal

from django.db import transaction

from billing_worker import gateway
from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.models import BillingLease
from billing_worker.accounts.selectors import get_families, get_now_for
from billing_worker.accounts.services import set_biller
from billing_worker.accounts.states import Biller
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import AlertName, Severity
from billing_worker.core.errors import BillingError, Conflict
from billing_worker.core.periods import Period
from billing_worker.mirror.models import StripeSubscription
from cohorts.models import Cohort, CohortMember, Rollback, RollbackStep, SubscriptionChange
from cohorts.rolling_back import find_first_free, list_remaining
from cohorts.services.changing import (
    KEY_LIVES_FOR,
    ChangeNotTaken,
    ask_for_change,
    lock_members,
    note_applied,
    plan_change,
    plans_end,
    settle_change,
)
from cohorts.states import ChangeState, CohortState, ProvisioningState, RollbackState, StepState
from metering.config import get_seam
from metering.services.ingest import retry_busy
from metering.services.seam import align_with_seam

OPEN_STEPS: Final = (StepState.PENDING, StepState.LIFTING)
#: So near the turn of the month a payer that is not done is no longer a mere warning.
URGENT: Final = timedelta(days=3)

Outcome = Literal["done", "waiting", "failed"]


class EndedAtStripe(Conflict):
    """A subscription that was to go on has ended, so that legacy bills the payer. Roll its cohort back again."""

    code = "ended_at_stripe"


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of one payer's step. `waiting` and `failed` say why, and are tried again every hour."""

    payer_id: int
    outcome: Outcome
    detail: str = ""


def settle_rollback(
    *,
    rollback_id: int,
    actor: str,
    now: datetime,
    track: Callable[[list[RollbackStep]], Iterable[RollbackStep]] = iter,
) -> list[StepResult]:
    """Do what a rollback, or its withdrawal, has left to do. Answers one result for each payer that was open.

    Safe to repeat, to interrupt and to run twice at once; one payer's trouble is alerted and keeps nobody else. Not to
    be called in a transaction.
    """
    rollback = Rollback.objects.select_related("cohort").get(pk=rollback_id)
    steps = rollback.steps.filter(state__in=OPEN_STEPS).select_related(
        "rollback__cohort", "payer__test_clock", "payer__parent__test_clock"
    )
    results, is_urgent = [], False
    for step in track(list(steps)):
        try:
            result = _settle_step(step, actor=actor, now=now)
        except BillingError as error:
            result = StepResult(step.payer_id, "failed", str(error))
        left = RollbackStep.objects.filter(pk=step.pk, state__in=OPEN_STEPS)
        if not left.update(error=result.detail[:500]) and result.outcome != "done":
            result = StepResult(step.payer_id, "done", "by another worker")
        turn = Period.parse(step.period).start_at
        is_urgent |= result.outcome == "failed" and get_now_for(step.payer, now) >= turn - URGENT
        results.append(result)
    _tell_failures(rollback.cohort, results, is_urgent=is_urgent, now=now)
    _finish(rollback, actor=actor, now=now)
    return results


def recheck_rollback(*, rollback_id: int, actor: str, now: datetime) -> bool:
    """Open the steps again whose end somebody has taken back at Stripe, and close the alert once nothing remains.

    Works from the mirror. True if there is anything to settle.
    """
    rollback = Rollback.objects.select_related("cohort").get(pk=rollback_id)
    if rollback.state in (RollbackState.RUNNING, RollbackState.DONE):
        for step in rollback.steps.filter(state=StepState.DONE).exclude(stripe_subscription_id=""):
            if _was_taken_back(step):
                _reopen(step, actor=actor, now=now)
    rollback.refresh_from_db(fields=["state"])
    if rollback.state == RollbackState.DONE and not list_remaining(rollback):
        resolve_alert(name=AlertName.COHORT_ROLLED_BACK, subject=f"cohort {rollback.cohort.name}", now=now)
    return rollback.state in (RollbackState.RUNNING, RollbackState.WITHDRAWING)


def _was_taken_back(step: RollbackStep) -> bool:
    row = StripeSubscription.objects.filter(stripe_subscription_id=step.stripe_subscription_id).first()
    assert step.settled_at is not None, "held by the constraint rollback_step_settled_has_time"
    if row is None or row.ended_at is not None or row.last_event_at <= step.settled_at:
        return False
    moving = CohortMember.objects.filter(held_account=step.payer_id)
    if moving.exclude(provisioning=ProvisioningState.PENDING).exists():
        return False
    return row.cancel_at is None or row.cancel_at > Period.parse(step.period).start_at


@transaction.atomic
def _reopen(step: RollbackStep, *, actor: str, now: datetime) -> None:
    if not _move(step, StepState.DONE, StepState.PENDING, settled_at=None):
        return
    Rollback.objects.filter(pk=step.rollback_id, state=RollbackState.DONE).update(state=RollbackState.RUNNING)
    record_audit(
        actor=actor, action="rollback.step_reopened", subject_type="account", subject_id=step.payer_id, at=now,
        reason="its subscription was set to go on at Stripe", after={"from": step.period},
    )  # fmt: skip


# -- one payer ---------------------------------------------------------------------------------------------------------


def _settle_step(step: RollbackStep, *, actor: str, now: datetime) -> StepResult:
    is_ending = step.state == StepState.PENDING
    if step.stripe_subscription_id:
        request = {"cancel_at": int(Period.parse(step.period).start_at.timestamp()) if is_ending else ""}
        _finish_lost_changes(step, request, actor=actor, now=now)
        held = gateway.get_subscription(step.stripe_subscription_id)
        settled = (
            _end(step, held, actor=actor, now=now) if is_ending else _lift(step, held, actor=actor, now=now)
        )
        if settled is not None:
            return settled
        _note_confirmed(step, request, actor=actor, now=now)
    if is_ending:
        retry_busy(partial(_hand_over, step, actor=actor, now=now))
    else:
        retry_busy(partial(_take_back, step, actor=actor, now=now))
    for account_id in step.account_ids:
        retry_busy(partial(align_with_seam, seam=get_seam(), account_id=account_id))
    return StepResult(step.payer_id, "done")


def _finish_lost_changes(step: RollbackStep, wanted: dict[str, Any], *, actor: str, now: datetime) -> None:
    """Bring an earlier end (or its lifting) whose answer was lost to its end, so that it can't come after ours."""
    pending = SubscriptionChange.objects.filter(
        stripe_subscription_id=step.stripe_subscription_id, state=ChangeState.PENDING
    )
    for change in pending.order_by("number"):
        if not plans_end(change.request) or change.request == wanted:
            continue
        if now - change.created_at >= KEY_LIVES_FOR:
            settle_change(change, ChangeState.SUPERSEDED, now=now)
            continue
        try:
            ask_for_change(change, now=now)
        except gateway.GatewayRejected:
            continue
        note_applied(change, actor=actor, reason="asked for again: the answer had been lost", now=now)


def _note_confirmed(step: RollbackStep, request: dict[str, Any], *, actor: str, now: datetime) -> None:
    """Settle what was asked for before and whose answer was lost: Stripe says that it is so."""
    pending = SubscriptionChange.objects.filter(
        stripe_subscription_id=step.stripe_subscription_id, state=ChangeState.PENDING
    )
    for change in pending:
        if change.request == request:
            note_applied(change, actor=actor, reason="its answer had been lost: Stripe has it", now=now)


def _end(step: RollbackStep, held: gateway.Subscription, *, actor: str, now: datetime) -> StepResult | None:
    """None once Stripe has confirmed that the subscription ends by the step's month."""
    free = _find_free(held)
    if free is not None and free > Period.parse(step.period):
        _delay(step, free, actor=actor, now=now)
    turn = Period.parse(step.period).start_at
    if held.ended_at is not None or (held.cancel_at is not None and held.cancel_at <= turn):
        return None
    if free is not None and get_now_for(step.payer, now) >= free.start_at:
        return StepResult(step.payer_id, "waiting", "Stripe has not turned the month yet")
    summary = f"ends on {turn:%Y-%m-%d}: rolled back to legacy"
    answer = _change(step, {"cancel_at": int(turn.timestamp())}, summary, actor=actor, now=now)
    if answer is None:
        return StepResult(step.payer_id, "waiting", "another worker is at it")
    if answer.cancel_at is None or answer.cancel_at > turn:
        raise ChangeNotTaken(
            f"account {step.payer_id}: Stripe answered, and its subscription does not end yet"
        )
    return None


def _lift(step: RollbackStep, held: gateway.Subscription, *, actor: str, now: datetime) -> StepResult | None:
    """None once Stripe has confirmed that the subscription goes on. An end that is not ours is left as it is."""
    if held.ended_at is not None:
        raise EndedAtStripe(
            f"account {step.payer_id}: its subscription ended on {held.ended_at:%Y-%m-%d}, so legacy bills it: roll the"
            " cohort back again"
        )
    if held.cancel_at != Period.parse(step.period).start_at:
        return None
    answer = _change(step, {"cancel_at": ""}, "goes on: the rollback is withdrawn", actor=actor, now=now)
    if answer is None:
        return StepResult(step.payer_id, "waiting", "another worker is at it")
    if answer.cancel_at is not None:
        raise ChangeNotTaken(f"account {step.payer_id}: Stripe answered, and its subscription still ends")
    return None


def _find_free(held: gateway.Subscription) -> Period | None:
    """The first month that Stripe has not begun; None if nothing tells."""
    if held.ended_at is not None:
        return find_first_free(held.ended_at)
    ends = [item.period_end for item in held.items if item.period_end]
    return find_first_free(max(ends)) if ends else None


def _change(
    step: RollbackStep, request: dict[str, Any], summary: str, *, actor: str, now: datetime
) -> gateway.Subscription | None:
    """Ask Stripe once for the change; None if the step was taken elsewhere meanwhile."""
    state = step.state
    change = plan_change(
        account_id=step.payer_id,
        subscription_id=step.stripe_subscription_id,
        period=step.period,
        summary=summary,
        request=request,
        is_still_wanted=lambda: (
            RollbackStep.objects.select_for_update().filter(pk=step.pk, state=state).exists()
        ),
        now=now,
    )
    if change is None:
        return None
    answer = ask_for_change(change, now=now)
    note_applied(change, actor=actor, reason=f"rollback of cohort {step.rollback.cohort.name}", now=now)
    return answer


# -- the leases, after Stripe ------------------------------------------------------------------------------------------


@transaction.atomic
def _hand_over(step: RollbackStep, *, actor: str, now: datetime) -> bool:
    """Turn every lease from the step's month on to legacy and release the accounts. False: somebody else did."""
    cohort = step.rollback.cohort
    ids = _list_family(step)
    lock_members(*ids)
    if not _move(step, StepState.PENDING, StepState.DONE, settled_at=now, account_ids=ids, error=""):
        return False
    reason = f"cohort {cohort.name} is rolled back from {step.period} on: {step.rollback.reason}"
    leases = BillingLease.objects.filter(account__in=ids, period__gte=step.period)
    held = {(lease.account_id, lease.period): lease.biller for lease in leases}
    turned = {key for key, biller in held.items() if biller == Biller.STRIPE}
    if cohort.dual_run_at is not None:
        # A row even where there was none: it says for good that legacy alone bills this month.
        turned |= {(pk, step.period) for pk in ids if (pk, step.period) not in held}
    for account_id, month in sorted(turned):
        set_biller(
            account_id=account_id, period=Period.parse(month), biller=Biller.LEGACY, actor=actor, reason=reason,
            now=now,
        )  # fmt: skip
    kept = {(pk, month) for pk, month in step.leases} | turned
    RollbackStep.objects.filter(pk=step.pk).update(leases=sorted([pk, month] for pk, month in kept))
    CohortMember.objects.filter(cohort=cohort, account__in=ids, released_at__isnull=True).update(
        released_at=now
    )
    record_audit(
        actor=actor, action="rollback.payer_handed_back", subject_type="account", subject_id=step.payer_id, at=now,
        reason=reason,
        after={"from": step.period, "accounts": ids, "subscription": step.stripe_subscription_id},
    )  # fmt: skip
    return True


@transaction.atomic
def _take_back(step: RollbackStep, *, actor: str, now: datetime) -> bool:
    """Turn the leases that the step had turned back to Stripe. False: somebody else did."""
    lock_members(*step.account_ids)
    if not _move(step, StepState.LIFTING, StepState.LIFTED, settled_at=now, leases=[], error=""):
        return False
    for account_id, month in step.leases:
        set_biller(
            account_id=account_id, period=Period.parse(month), biller=Biller.STRIPE, actor=actor,
            reason=f"the rollback of cohort {step.rollback.cohort.name} is withdrawn", now=now,
        )  # fmt: skip
    record_audit(
        actor=actor, action="rollback.payer_goes_on", subject_type="account", subject_id=step.payer_id, at=now,
        reason=step.rollback.withdraw_reason, after={"subscription": step.stripe_subscription_id},
    )  # fmt: skip
    return True


def _delay(step: RollbackStep, to: Period, *, actor: str, now: datetime) -> None:
    """Stripe has begun the step's month: it stays Stripe's, and the payer goes back from `to` on."""
    with transaction.atomic():
        ids = _list_family(step)
        lock_members(*ids)
        late = step.period
        if not RollbackStep.objects.filter(pk=step.pk, state=StepState.PENDING, period=late).update(
            period=str(to)
        ):
            step.refresh_from_db(fields=["period", "state"])
            return
        month = Period.parse(late)
        while step.rollback.cohort.dual_run_at is not None and month < to:
            # A month that is over may be billed by legacy as its lease said: a reconciliation tells, a person decides.
            if get_now_for(step.payer, now) < month.end_at:
                _lease_to_stripe(ids, month, actor=actor, now=now)
            month = month.next()
        record_audit(
            actor=actor, action="rollback.payer_delayed", subject_type="account", subject_id=step.payer_id, at=now,
            reason="Stripe had begun the month before it could be told", before={"from": late}, after={"from": str(to)},
        )  # fmt: skip
        raise_alert(
            name=AlertName.ROLLBACK_DELAYED,
            severity=Severity.CRITICAL,
            subject=f"account {step.payer_id}",
            detail=f"Stripe had begun {late} before it could be told to end: it bills that month, and legacy bills"
            f" account {step.payer_id} from {to} on",
            now=now,
            context={"cohort": step.rollback.cohort_id, "account": step.payer_id},
        )
    step.period = str(to)


def _lease_to_stripe(account_ids: list[int], month: Period, *, actor: str, now: datetime) -> None:
    for account_id in account_ids:
        set_biller(
            account_id=account_id, period=month, biller=Biller.STRIPE, actor=actor,
            reason="Stripe had begun the month before its rollback", now=now,
        )  # fmt: skip


def _list_family(step: RollbackStep) -> list[int]:
    """Who bills through the payer now, or did when the rollback was decided."""
    return sorted({*step.account_ids, *get_families([step.payer_id])[step.payer_id]})


def _move(step: RollbackStep, before: StepState, after: StepState, **changes: Any) -> bool:
    moved = RollbackStep.objects.filter(pk=step.pk, state=before).update(state=after, **changes)
    return bool(moved)


# -- the whole ---------------------------------------------------------------------------------------------------------


def _tell_failures(cohort: Cohort, results: list[StepResult], *, is_urgent: bool, now: datetime) -> None:
    subject = f"cohort {cohort.name}"
    failed = [result for result in results if result.outcome == "failed"]
    if not failed:
        resolve_alert(name=AlertName.ROLLBACK_STEP_FAILED, subject=subject, now=now)
        return
    raise_alert(
        name=AlertName.ROLLBACK_STEP_FAILED,
        severity=Severity.CRITICAL if is_urgent else Severity.WARNING,
        subject=subject,
        detail=f"{len(failed)} payers are not handed back yet; account {failed[0].payer_id}: {failed[0].detail}",
        now=now,
        context={"cohort": cohort.pk, "account": failed[0].payer_id},
    )


@transaction.atomic
def _finish(rollback: Rollback, *, actor: str, now: datetime) -> None:
    """Close the rollback, or its withdrawal, once no payer is left. Whoever comes second finds it closed."""
    cohort = Cohort.objects.select_for_update().get(pk=rollback.cohort_id)
    rollback = Rollback.objects.select_for_update().get(pk=rollback.pk)
    if rollback.steps.filter(state__in=OPEN_STEPS).exists():
        return
    if rollback.state == RollbackState.RUNNING:
        rollback.state, rollback.finished_at = RollbackState.DONE, now
        rollback.save(update_fields=["state", "finished_at"])
        action = "cohort.rollback_finished"
    elif rollback.state == RollbackState.WITHDRAWING:
        rollback.state, rollback.open_cohort = RollbackState.WITHDRAWN, None
        rollback.save(update_fields=["state", "open_cohort"])
        _give_back(cohort, CohortState(rollback.state_before))
        resolve_alert(name=AlertName.COHORT_ROLLED_BACK, subject=f"cohort {cohort.name}", now=now)
        action = "cohort.goes_on"
    else:
        return
    record_audit(
        actor=actor, action=action, subject_type="cohort", subject_id=cohort.pk, at=now,
        after={"state": cohort.state, "from": rollback.from_period},
    )  # fmt: skip


def _give_back(cohort: Cohort, before: CohortState) -> None:
    """Ready as it was, or in its dual run: what had been signed was void from the moment of the rollback."""
    cohort.state = CohortState.READY if before == CohortState.READY else CohortState.DUAL_RUN
    cohort.clean_at, cohort.migrated_at, cohort.evidence, cohort.evidence_hash = None, None, {}, ""
    cohort.save()
