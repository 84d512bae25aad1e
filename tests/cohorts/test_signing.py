"""Two people sign for the same evidence, one of them in finance."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from billing_worker.accounts.models import AuditEntry
from billing_worker.mirror.models import StripeInvoiceLine
from cohorts.models import Cohort
from cohorts.services import open_gate, recheck_evidence, reconcile_cohort, sign_off
from cohorts.services.lifecycle import WrongCohortState
from cohorts.services.signing import AlreadySigned, EvidenceChanged, SignOffNotAllowed
from cohorts.states import CohortState
from tests.cohorts.factories import NOW, Month, add_member, make_cohort, make_person

pytestmark = [
    pytest.mark.django_db(databases=["default", "legacy"]),
    pytest.mark.usefixtures("legacy_tables"),
]


@pytest.fixture
def cohort() -> Cohort:
    opened, _ = open_gate(cohort_id=make_cohort().pk, actor="test", now=NOW)
    return opened


@pytest.fixture
def ops() -> User:
    return make_person("otto", "ops")


@pytest.fixture
def finance() -> User:
    return make_person("fay", "finance")


def sign(cohort: Cohort, user: User, evidence_hash: str | None = None) -> Cohort:
    shown = cohort.evidence_hash if evidence_hash is None else evidence_hash
    return sign_off(cohort_id=cohort.pk, user=user, evidence_hash=shown, now=NOW)


def change_stripe_by_a_cent(cohort: Cohort) -> None:
    """Something moved after the gate had opened, and the next reconciliation sees it."""
    line = StripeInvoiceLine.objects.filter(invoice__account__cohort_members__cohort=cohort).earliest("pk")
    line.amount_minor += 1
    line.save()
    reconcile_cohort(cohort_id=cohort.pk, actor="test", now=NOW)


@pytest.mark.parametrize("order", [("ops", "finance"), ("finance", "ops")])
def test_two_people_migrate_it(cohort, ops, finance, order):
    people = {"ops": ops, "finance": finance}
    assert sign(cohort, people[order[0]]).state == CohortState.CLEAN
    done = sign(cohort, people[order[1]])
    assert (done.state, done.migrated_at) == (CohortState.MIGRATED, NOW)
    assert [(s.role, s.evidence_hash) for s in done.sign_offs.all()] == [
        (order[0], cohort.evidence_hash),
        (order[1], cohort.evidence_hash),
    ]
    entry = AuditEntry.objects.get(action="cohort.migrated")
    assert entry.after["signed_by"] == [people[role].username for role in order]


def test_one_person_does_not_count_twice(cohort, finance):
    sign(cohort, finance)
    with pytest.raises(AlreadySigned, match="fay has signed already"):
        sign(cohort, finance)
    cohort.refresh_from_db()
    assert (cohort.state, cohort.sign_offs.count()) == (CohortState.CLEAN, 1)


def test_two_of_ops_wait_for_finance(cohort, ops, finance):
    sign(cohort, ops)
    assert sign(cohort, make_person("olga", "ops")).state == CohortState.CLEAN
    assert sign(cohort, finance).state == CohortState.MIGRATED


def test_engineers_do_not_sign(cohort):
    with pytest.raises(SignOffNotAllowed, match="ops or finance"):
        sign(cohort, make_person("erin", "engineer"))
    assert not cohort.sign_offs.exists()


def test_a_person_who_was_shown_something_else(cohort, ops):
    with pytest.raises(EvidenceChanged, match="shown other evidence"):
        sign(cohort, ops, evidence_hash="f" * 64)
    assert not cohort.sign_offs.exists()


def test_drift_after_the_first_signature_voids_it(cohort, ops, finance):
    sign(cohort, ops)
    change_stripe_by_a_cent(cohort)
    fresh = Cohort.objects.get(pk=cohort.pk)
    assert (fresh.state, fresh.evidence_hash, fresh.clean_at) == (CohortState.DUAL_RUN, "", None)
    void = fresh.sign_offs.get()
    assert (void.voided_at, void.void_reason) == (NOW, "the evidence changed")
    with pytest.raises(WrongCohortState, match="nothing to sign"):
        sign(cohort, finance)


def test_a_changed_membership_voids_too_at_the_moment_of_signing(cohort, ops, finance):
    sign(cohort, ops)
    add_member(cohort, Month("Latecomer", 100, 100), number=77)
    with pytest.raises(EvidenceChanged, match="look at it again"):
        sign(cohort, finance)
    fresh = Cohort.objects.get(pk=cohort.pk)
    assert fresh.state == CohortState.DUAL_RUN
    assert fresh.sign_offs.get().voided_at == NOW
    assert AuditEntry.objects.filter(action="cohort.evidence_voided").count() == 1


def test_after_the_drift_is_gone_everybody_signs_anew(cohort, ops, finance):
    sign(cohort, ops)
    change_stripe_by_a_cent(cohort)
    line = StripeInvoiceLine.objects.filter(invoice__account__cohort_members__cohort=cohort).earliest("pk")
    line.amount_minor -= 1
    line.save()
    reconcile_cohort(cohort_id=cohort.pk, actor="test", now=NOW)
    again, _ = open_gate(cohort_id=cohort.pk, actor="test", now=NOW + timedelta(hours=1))
    assert again.evidence_hash == cohort.evidence_hash, "the same evidence, another opening"
    assert sign(again, finance).state == CohortState.CLEAN, "the void signature does not count"
    assert sign(again, ops).state == CohortState.MIGRATED


def test_unchanged_evidence_stands(cohort, ops):
    sign(cohort, ops)
    reconcile_cohort(cohort_id=cohort.pk, actor="test", now=NOW)
    assert recheck_evidence(cohort_id=cohort.pk, actor="test", now=NOW).state == CohortState.CLEAN
    assert cohort.sign_offs.get().voided_at is None


def test_before_the_gate_and_after_the_move_there_is_nothing_to_sign(cohort, ops, finance):
    other = make_cohort(Month("Elsewhere", 1, 1), name="cohort-2")
    with pytest.raises(WrongCohortState):
        sign(other, ops)
    for person in (ops, finance):
        sign(cohort, person)
    with pytest.raises(WrongCohortState, match="migrated"):
        sign(cohort, make_person("olga", "ops"))
