"""The life of a drift: found, changed, taken on, accepted, gone, back again. Each step is an event that stays."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from django.db import transaction

from billing_worker.accounts.audit import record_audit
from billing_worker.core.errors import Conflict, InvalidInput, NotFound
from reconciliation.matching import Difference
from reconciliation.models import Drift, DriftEvent, ReconciliationRun
from reconciliation.states import DRIFT_TRANSITIONS, DriftState

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: The actor of what a run does by itself.
RUN_ACTOR: Final = "reconciliation"


class UnknownDrift(NotFound):
    """There is no such drift."""

    code = "unknown_drift"


class WrongDriftState(Conflict):
    """The drift's state does not allow this. The message names it."""

    code = "wrong_drift_state"


def record_difference(
    *, run: ReconciliationRun, account_id: int, currency: str, difference: Difference, now: datetime
) -> Drift:
    """Keep what a run found as a drift: a new one, one that goes on, or one that was gone and is back.

    A drift whose figures changed after it was accepted is open again: another figure was accepted. Call it inside the
    run's transaction.
    """
    figures = {
        "cause": difference.cause,
        "explanation": difference.explanation,
        "legacy_minor": difference.legacy_minor,
        "stripe_minor": difference.stripe_minor,
        "gross_minor": difference.gross_minor,
    }
    drift, is_new = Drift.objects.select_for_update().get_or_create(
        account_id=account_id,
        period=run.period,
        currency=currency,
        kind=difference.kind,
        defaults={**figures, "first_run": run, "last_run": run},
    )
    if is_new:
        _record_event(drift=drift, run=run, actor=RUN_ACTOR, now=now, note="found")
        return drift
    changed = any(getattr(drift, name) != value for name, value in figures.items())
    for name, value in figures.items():
        setattr(drift, name, value)
    drift.last_run = run
    if drift.state == DriftState.RESOLVED:
        _move(drift=drift, state=DriftState.OPEN, actor=RUN_ACTOR, run=run, now=now, note="found again")
    elif changed and drift.state == DriftState.ACCEPTED:
        note = "its figures changed after it was accepted"
        _move(drift=drift, state=DriftState.OPEN, actor=RUN_ACTOR, run=run, now=now, note=note)
    else:
        drift.save()
        if changed:
            _record_event(drift=drift, run=run, actor=RUN_ACTOR, now=now, note="figures changed")
    return drift


def resolve_drift(*, drift: Drift, run: ReconciliationRun, now: datetime) -> None:
    """A run that covered the drift's account no longer finds it. Call it inside the run's transaction."""
    _move(drift=drift, state=DriftState.RESOLVED, actor=RUN_ACTOR, run=run, now=now, note="no longer found")


@transaction.atomic
def accept_drift(*, drift_id: int, user: User, reason: str, now: datetime) -> Drift:
    """A person takes an open drift on, with the reason. It counts as drift all the same until a run finds it gone.

    Raises:
        UnknownDrift: no such drift.
        InvalidInput: no reason.
        WrongDriftState: the drift is not open.
    """
    if not reason.strip():
        raise InvalidInput("say why this drift is accepted", fields={"reason": ["is required"]})
    drift = _lock(drift_id)
    before = {"state": drift.state}
    drift.owner, drift.accepted_reason = user, reason.strip()
    _move(
        drift=drift,
        state=DriftState.ACCEPTED,
        actor=user.get_username(),
        run=None,
        now=now,
        note=reason.strip(),
    )
    record_audit(
        actor=user.get_username(), action="drift.accepted", subject_type="drift", subject_id=drift.pk, at=now,
        reason=reason.strip(), before=before, after={"state": drift.state},
    )  # fmt: skip
    return drift


@transaction.atomic
def assign_drift(*, drift_id: int, owner: User, actor: str, now: datetime) -> Drift:
    """Say who looks into a drift. Saying it again changes nothing.

    Raises:
        UnknownDrift: no such drift.
        WrongDriftState: it is resolved: there is nothing left to look into.
    """
    drift = _lock(drift_id)
    if drift.state == DriftState.RESOLVED:
        raise WrongDriftState(f"drift {drift.pk} is resolved: nobody needs to look into it")
    if drift.owner_id == owner.pk:
        return drift
    drift.owner = owner
    drift.save(update_fields=["owner"])
    note = f"{owner.get_username()} looks into it"
    _record_event(drift=drift, run=None, actor=actor, now=now, note=note)
    return drift


def _lock(drift_id: int) -> Drift:
    drift = Drift.objects.select_for_update().filter(pk=drift_id).first()
    if drift is None:
        raise UnknownDrift(f"there is no drift {drift_id}")
    return drift


def _move(
    *, drift: Drift, state: DriftState, actor: str, run: ReconciliationRun | None, now: datetime, note: str
) -> None:
    if state not in DRIFT_TRANSITIONS[DriftState(drift.state)]:
        raise WrongDriftState(f"drift {drift.pk} is {drift.state} and can't become {state.value}")
    drift.state = state
    drift.resolved_at = now if state == DriftState.RESOLVED else None
    drift.save()
    _record_event(drift=drift, run=run, actor=actor, now=now, note=note)


def _record_event(
    *, drift: Drift, run: ReconciliationRun | None, actor: str, now: datetime, note: str
) -> None:
    DriftEvent.objects.create(
        drift=drift, run=run, at=now, actor=actor, state=drift.state, cause=drift.cause,
        difference_minor=drift.difference_minor, note=note,
    )  # fmt: skip
