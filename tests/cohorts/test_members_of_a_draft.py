"""A draft's members are changed, by whole families; later states refuse it."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from billing_worker import gateway
from billing_worker.accounts.models import AuditEntry
from billing_worker.accounts.states import AccountStatus
from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period
from cohorts.models import Cohort, CohortMember
from cohorts.provisioning import CannotProvision
from cohorts.services import change_members, create_cohort, provision
from cohorts.services.lifecycle import WrongCohortState
from cohorts.services.membership import require_draft
from cohorts.states import CohortState, ProvisioningState
from tests.cohorts.factories import make_person
from tests.factories import NOW, AccountFactory, CustomerAccountFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def draft() -> Cohort:
    """One account; beside it a payer with a child, and a closed one, in no cohort."""
    AccountFactory.create(id=5001)
    payer = AccountFactory.create(id=5002)
    AccountFactory.create(id=5003, parent=payer)
    AccountFactory.create(id=5004, parent=payer, status=AccountStatus.CLOSED)
    return create_cohort(name="draft", account_ids=[5001], actor="test", now=NOW)


def change(cohort: Cohort, **options: Any) -> list[int]:
    change_members(cohort_id=cohort.pk, actor="test", now=NOW, **options)
    return list(cohort.members.values_list("account_id", flat=True))


def test_families_join_and_leave_whole_and_it_is_audited(draft):
    assert change(draft, add=[5003], remove=[5001], reason="too big") == [5002, 5003]
    entry = AuditEntry.objects.get(action="cohort.members_changed")
    assert (entry.reason, entry.before) == ("too big", {"accounts": [5001]})
    assert entry.after == {"added": [5002, 5003], "removed": [5001]}
    assert change(draft, add=[5002], remove=[5001]) == [5002, 5003]
    assert AuditEntry.objects.filter(action="cohort.members_changed").count() == 1, "nothing changed again"
    assert change(draft, add=[5001], remove=[5002]) == [5001]
    create_cohort(name="other", account_ids=[5002, 5003], actor="test", now=NOW)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"remove": [5001]}, "it has no accounts"),
        ({"add": [999]}, "account 999 is unknown"),
        ({"add": [5004]}, "account 5004 is closed"),
        (
            {"add": [5002], "remove": [5003]},
            "account 5002 is both added and removed, perhaps with its family",
        ),
    ],
)
def test_what_can_not_be(draft, options, message):
    with pytest.raises(InvalidInput, match=message):
        change(draft, **options)
    assert draft.members.get().account_id == 5001


def test_an_account_of_another_cohort_is_refused_by_rule_and_by_the_database(draft, monkeypatch):
    create_cohort(name="other", account_ids=[5002, 5003], actor="test", now=NOW)
    with pytest.raises(InvalidInput, match="account 5002 is in cohort other"):
        change(draft, add=[5002])
    # As for two people at once, who both found it free.
    monkeypatch.setattr("cohorts.services.membership._find_problems", lambda *args, **options: [])
    with pytest.raises(InvalidInput, match="has just joined another cohort"):
        change(draft, add=[5002])
    assert draft.members.get().account_id == 5001


@pytest.mark.parametrize("state", [state for state in CohortState if state != CohortState.DRAFT])
def test_later_it_is_refused_with_the_reason(draft, state):
    draft.state = state
    with pytest.raises(WrongCohortState, match="Roll it back, or form another cohort"):
        require_draft(draft)


def test_a_member_of_a_cohort_that_is_ready_stays(draft):
    Cohort.objects.update(state=CohortState.READY, dual_run_period="2026-10")
    with pytest.raises(CommandError, match="cohort draft is ready: its members have their subscriptions"):
        call_command("edit_cohort", "draft", "--add=5002")


@pytest.mark.parametrize("running", [False, True])
def test_whom_provisioning_has_begun_leaves_only_without_a_subscription(draft, monkeypatch, running):
    other = CustomerAccountFactory.create(id=5005)
    CohortMember.objects.create(cohort=draft, account=other, provisioning=ProvisioningState.CUSTOMER)
    ended = None if running else NOW
    found = type("Found", (), {"ended_at": ended})()
    monkeypatch.setattr(gateway, "list_subscriptions", lambda customer: [found])
    if running:
        with pytest.raises(InvalidInput, match="account 5005 has been set up at Stripe"):
            change(draft, remove=[5005])
    else:
        assert change(draft, remove=[5005]) == [5001]


def test_provisioning_starts_nobody_who_left_and_ends_with_nobody_missing(draft):
    order = type("Order", (), {"member_ids": (5001, 5002)})()
    with pytest.raises(CannotProvision, match="have changed: provision it again"):
        provision._start(cohort=draft, order=order)
    with pytest.raises(CannotProvision, match="has got more members meanwhile"):
        provision._finish(cohort=draft, period=Period(2026, 10), actor="test", now=NOW)
    assert Cohort.objects.get().state == CohortState.DRAFT


def test_the_command(draft, capsys):
    call_command("edit_cohort", "draft", "--add=5002, 5003", "--remove=5001", "--reason=too big")
    assert capsys.readouterr().out == "cohort draft: 2 accounts, draft\n"
    for arguments, message in (([], "nothing to change"), (["--add=x"], "--add takes account ids, not x")):
        with pytest.raises(CommandError, match=message) as refusal:
            call_command("edit_cohort", "draft", *arguments)
        assert refusal.value.returncode == 2


@pytest.mark.parametrize(("role", "status"), [("ops", 200), ("engineer", 200), ("finance", 403)])
def test_who_may_change_it_in_the_console(draft, role, status):
    client = Client()
    client.force_login(make_person(role, role))
    address = reverse("admin:cohorts_cohort_members", args=[draft.pk])
    assert client.get(address).status_code == status
    if status == 200:
        refused = client.post(address, {"add": "5002, nobody", "remove": "", "reason": ""})
        assert refused.status_code == 422
        assert "This field takes account ids, not nobody" in refused.content.decode()
    sent = client.post(address, {"add": "5002", "remove": "", "reason": ""})
    assert sent.status_code == (302 if status == 200 else 403)
    assert draft.members.count() == (3 if status == 200 else 1)
