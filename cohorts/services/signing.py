"""Two people sign for the same evidence; changed evidence voids what was signed."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction

from billing_worker.accounts.audit import record_audit
from billing_worker.core.errors import Conflict, NotAllowed
from cohorts.gate import evaluate_gate
from cohorts.models import Cohort, SignOff
from cohorts.services.lifecycle import WrongCohortState, require_transition
from cohorts.states import FINANCE_ROLE, SIGNATURES_NEEDED, CohortState

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class EvidenceChanged(Conflict):
    """What the person saw is no longer what is true. Look at the cohort again; earlier signatures are void."""

    code = "evidence_changed"


class AlreadySigned(Conflict):
    """This person has signed for this evidence. The second signature is another person's."""

    code = "already_signed"


class SignOffNotAllowed(NotAllowed):
    """The person lacks the permission to sign cohorts off."""

    code = "sign_off_not_allowed"


def sign_off(*, cohort_id: int, user: User, evidence_hash: str, now: datetime) -> Cohort:
    """Sign for the evidence that the person was shown. The last signature needed migrates the cohort.

    Raises:
        SignOffNotAllowed: the person may not sign.
        EvidenceChanged: the evidence is another by now; the cohort is back in its dual run, its signatures void.
        AlreadySigned: the person signed for it before.
        WrongCohortState: the gate has not opened, or the cohort is migrated.
    """
    if not user.has_perm("cohorts.sign_off_cohort"):
        raise SignOffNotAllowed(
            f"{user.get_username()} may not sign cohorts off: ask for the ops or finance role"
        )
    was_open = Cohort.objects.filter(pk=cohort_id, state=CohortState.CLEAN).exists()
    cohort = recheck_evidence(cohort_id=cohort_id, actor=user.get_username(), now=now)
    if was_open and cohort.state == CohortState.DUAL_RUN:
        raise EvidenceChanged(
            f"the evidence of cohort {cohort.name} has changed: look at it again before anyone signs"
        )
    with transaction.atomic():
        cohort = Cohort.objects.select_for_update().get(pk=cohort_id)
        if cohort.state != CohortState.CLEAN:
            raise WrongCohortState(
                f"cohort {cohort.name} is {cohort.get_state_display().lower()}: there is nothing to sign"
            )
        if evidence_hash != cohort.evidence_hash:
            raise EvidenceChanged(f"you were shown other evidence of cohort {cohort.name}: look at it again")
        _record_signature(cohort=cohort, user=user, now=now)
        _migrate_if_signed(cohort=cohort, actor=user.get_username(), now=now)
    return cohort


def _record_signature(*, cohort: Cohort, user: User, now: datetime) -> None:
    assert cohort.clean_at is not None, "held by the constraint cohort_clean_has_evidence"
    roles = set(user.groups.values_list("name", flat=True))
    role = FINANCE_ROLE if FINANCE_ROLE in roles else (sorted(roles)[0] if roles else "superuser")
    try:
        with transaction.atomic():
            SignOff.objects.create(
                cohort=cohort, user=user, role=role, evidence_hash=cohort.evidence_hash,
                gate_opened_at=cohort.clean_at, signed_at=now,
            )  # fmt: skip
    except IntegrityError:
        raise AlreadySigned(
            f"{user.get_username()} has signed already: the other signature is another person's"
        ) from None
    record_audit(
        actor=user.get_username(), action="cohort.signed_off", subject_type="cohort", subject_id=cohort.pk, at=now,
        after={"evidence_hash": cohort.evidence_hash, "role": role},
    )  # fmt: skip


def _migrate_if_signed(*, cohort: Cohort, actor: str, now: datetime) -> None:
    signatures = get_valid_signatures(cohort)
    if len(signatures) < SIGNATURES_NEEDED or FINANCE_ROLE not in {
        signature.role for signature in signatures
    }:
        return
    require_transition(cohort, CohortState.MIGRATED)
    cohort.state, cohort.migrated_at = CohortState.MIGRATED, now
    cohort.save()
    record_audit(
        actor=actor, action="cohort.migrated", subject_type="cohort", subject_id=cohort.pk, at=now,
        after={
            "evidence_hash": cohort.evidence_hash,
            "signed_by": [signature.user.get_username() for signature in signatures],
        },
    )  # fmt: skip


def get_valid_signatures(cohort: Cohort) -> list[SignOff]:
    """Signatures that stand: not void, and over the evidence that the cohort holds now."""
    return list(
        SignOff.objects.filter(
            cohort=cohort, evidence_hash=cohort.evidence_hash, voided_at__isnull=True
        ).select_related("user")
    )


@transaction.atomic
def recheck_evidence(*, cohort_id: int, actor: str, now: datetime) -> Cohort:
    """Compare the frozen evidence with what is true now; if they differ, void the signatures and go back to dual run.

    Call it whenever something that evidence rests on may have changed: after a reconciliation, before a signature.
    """
    cohort = Cohort.objects.select_for_update().get(pk=cohort_id)
    if cohort.state != CohortState.CLEAN:
        return cohort
    report = evaluate_gate(cohort=cohort, now=now)
    if report is not None and report.is_open and report.evidence_hash == cohort.evidence_hash:
        return cohort
    reason = "the evidence changed"
    SignOff.objects.filter(cohort=cohort, voided_at__isnull=True).update(voided_at=now, void_reason=reason)
    before = cohort.evidence_hash
    cohort.state, cohort.clean_at, cohort.evidence, cohort.evidence_hash = CohortState.DUAL_RUN, None, {}, ""
    cohort.save()
    record_audit(
        actor=actor, action="cohort.evidence_voided", subject_type="cohort", subject_id=cohort.pk, at=now,
        reason=reason, before={"evidence_hash": before},
    )  # fmt: skip
    return cohort
