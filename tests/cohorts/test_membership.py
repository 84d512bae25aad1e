"""Who may move together, and the leases that say who bills them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from billing_worker.accounts.models import AuditEntry, BillingLease
from billing_worker.accounts.states import AccountStatus, Biller
from billing_worker.core.errors import InvalidInput
from cohorts.models import Cohort
from cohorts.services import create_cohort, extend_leases, start_dual_run
from cohorts.services.lifecycle import WrongCohortState
from cohorts.states import CohortState
from tests.factories import NOW, AccountFactory, BillingLeaseFactory, CustomerAccountFactory

pytestmark = pytest.mark.django_db


def create(*accounts, name="cohort-1"):
    return create_cohort(name=name, account_ids=[account.pk for account in accounts], actor="test", now=NOW)


def test_a_draft_with_its_members():
    parent = AccountFactory.create()
    child = AccountFactory.create(parent=parent)
    cohort = create(parent, child)
    assert (cohort.state, cohort.members.count()) == (CohortState.DRAFT, 2)
    assert AuditEntry.objects.get().after == {"name": "cohort-1", "accounts": [parent.pk, child.pk]}


def test_the_same_again_changes_nothing_and_others_under_its_name_are_refused():
    one, two = AccountFactory.create(), AccountFactory.create()
    cohort = create(one)
    assert create(one) == cohort
    with pytest.raises(InvalidInput, match="with other members"):
        create(one, two)
    assert AuditEntry.objects.count() == 1


@pytest.mark.parametrize("name", ["", "cohort 1", "cohort/1", "c" * 61])
def test_names_are_short_slugs(name):
    with pytest.raises(InvalidInput, match="name"):
        create(AccountFactory.create(), name=name)


def test_every_problem_is_told_at_once_and_nothing_is_formed():
    parent = AccountFactory.create()
    child = AccountFactory.create(parent=parent)
    torn = AccountFactory.create(parent=AccountFactory.create())
    closed = AccountFactory.create(status=AccountStatus.CLOSED)
    taken = AccountFactory.create()
    create(taken, name="other")
    with pytest.raises(InvalidInput) as refusal:
        create_cohort(
            name="cohort-1",
            account_ids=[parent.pk, torn.pk, closed.pk, taken.pk, 999_999],
            actor="test",
            now=NOW,
        )
    assert refusal.value.fields["accounts"] == [
        "account 999999 is unknown",
        f"account {taken.pk} is in cohort other",
        f"account {torn.pk} bills through {torn.parent_id}, which is not in the cohort",
        f"account {closed.pk} is closed",
        f"account {child.pk} bills through {parent.pk} and is missing",
    ]
    assert not Cohort.objects.filter(name="cohort-1").exists()
    with pytest.raises(InvalidInput, match="no accounts"):
        create(name="cohort-1")


def test_a_closed_child_and_one_with_a_customer_of_its_own_may_stay_behind():
    parent = AccountFactory.create()
    AccountFactory.create(parent=parent, status=AccountStatus.CLOSED)
    CustomerAccountFactory.create(parent=parent)
    assert create(parent).members.count() == 1


class TestDualRun:
    @pytest.fixture
    def ready(self):
        cohort = create(AccountFactory.create(), AccountFactory.create())
        Cohort.objects.filter(pk=cohort.pk).update(
            state=CohortState.READY, ready_at=NOW, dual_run_period="2026-10"
        )
        return cohort

    def test_it_hands_the_month_and_the_next_to_stripe(self, ready):
        assert start_dual_run(cohort_id=ready.pk, actor="ops", now=NOW).state == CohortState.DUAL_RUN
        leases = BillingLease.objects.values_list("account_id", "period", "biller")
        ids = ready.members.values_list("account_id", flat=True)
        assert set(leases) == {(pk, month, "stripe") for pk in ids for month in ("2026-10", "2026-11")}
        assert AuditEntry.objects.filter(action="lease.biller_set", actor="ops").count() == 4

    def test_once(self, ready):
        start_dual_run(cohort_id=ready.pk, actor="ops", now=NOW)
        with pytest.raises(WrongCohortState, match="dual run"):
            start_dual_run(cohort_id=ready.pk, actor="ops", now=NOW)

    def test_leases_go_on_month_by_month(self, ready):
        start_dual_run(cohort_id=ready.pk, actor="ops", now=NOW)
        december = datetime(2026, 12, 1, 0, 30, tzinfo=UTC)
        assert extend_leases(actor="task", now=december) == 4
        assert extend_leases(actor="task", now=december) == 0
        assert (
            BillingLease.objects.filter(period__in=["2026-12", "2027-01"], biller=Biller.STRIPE).count() == 4
        )
        reason = AuditEntry.objects.filter(actor="task").values_list("reason", flat=True).first()
        assert reason == "cohort cohort-1 is billed by Stripe since 2026-10"

    def test_a_month_that_was_handed_back_stays_with_legacy(self, ready):
        start_dual_run(cohort_id=ready.pk, actor="ops", now=NOW)
        account = ready.members.earliest("pk").account
        BillingLeaseFactory.create(account=account, period="2026-12", biller=Biller.LEGACY)
        extend_leases(actor="task", now=datetime(2026, 12, 1, tzinfo=UTC))
        assert BillingLease.objects.get(account=account, period="2026-12").biller == Biller.LEGACY

    def test_no_lease_for_drafts_nor_before_the_dual_run(self, ready):
        assert extend_leases(actor="task", now=NOW) == 0
        start_dual_run(cohort_id=ready.pk, actor="ops", now=NOW)
        assert extend_leases(actor="task", now=datetime(2026, 9, 15, tzinfo=UTC)) == 0
        assert not BillingLease.objects.filter(period="2026-09").exists()
