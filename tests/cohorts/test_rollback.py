"""A rollback's decisions, and each payer's step through lost answers, kills, delays and withdrawals."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from billing_worker import gateway
from billing_worker.accounts.models import AuditEntry, BillingLease, TestClock
from billing_worker.alerts.models import Alert
from billing_worker.catalog.services import apply_catalog
from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period
from billing_worker.mirror.models import StripeSubscription
from cohorts.models import Cohort, CohortMember, Rollback, RollbackStep, SubscriptionChange
from cohorts.provisioning import CannotProvision
from cohorts.rolling_back import list_remaining
from cohorts.services import (
    ProvisioningOptions,
    advance_clocks,
    create_cohort,
    extend_leases,
    open_gate,
    provision_cohort,
    recheck_rollback,
    request_rollback,
    rollback_steps,
    settle_rollback,
    sign_off,
    start_dual_run,
    sync_subscriptions,
    withdraw_rollback,
)
from cohorts.services.lifecycle import WrongCohortState
from cohorts.services.rollback import AlreadyRolledBack, CannotRollBack, CannotWithdraw
from cohorts.states import CohortState
from cohorts.tasks import sweep_rollbacks
from tests.cohorts.factories import make_cohort, make_person
from tests.factories import AccountFactory, AccountPlanFactory

pytestmark = pytest.mark.django_db
NOVEMBER, DECEMBER, JANUARY = Period(2026, 11), Period(2026, 12), Period(2027, 1)
NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
WHO: dict[str, Any] = {"actor": "test", "now": NOW}


class Killed(BaseException):
    """As a kill ends a process: nothing after it runs."""


@pytest.fixture
def ready(stripe) -> Cohort:
    """A payer with its child, and one alone: provisioned for November on a clock that stands on the 20th."""
    payer, alone = AccountFactory.create(id=5001), AccountFactory.create(id=5003)
    child = AccountFactory.create(id=5002, parent=payer)
    for account, amount in ((payer, 49900), (child, 9900), (alone, 24900)):
        AccountPlanFactory.create(account=account, unit_amount_decimal=Decimal(amount))
    apply_catalog(at=date(2026, 11, 1))
    cohort = create_cohort(name="c", account_ids=[5001, 5002, 5003], actor="test", now=NOVEMBER.start_at)
    options = ProvisioningOptions(use_test_clocks=True, test_payment_method="pm_card_visa")
    provision_cohort(
        cohort_id=cohort.pk, period=NOVEMBER, options=options, actor="test", now=NOVEMBER.start_at
    )
    move(NOW)
    cohort.refresh_from_db()
    return cohort


@pytest.fixture
def cohort(ready) -> Cohort:
    """In its dual run."""
    return start_dual_run(cohort_id=ready.pk, actor="test", now=NOVEMBER.start_at)


def move(to: datetime) -> None:
    advance_clocks(clocks=list(TestClock.objects.all()), to=to)


def decide(cohort: Cohort, period: Period = DECEMBER) -> Rollback:
    return request_rollback(cohort_id=cohort.pk, period=period, reason="drift", **WHO)


def settle(rollback: Rollback) -> dict[int, str]:
    found = {one.payer_id: one.outcome for one in settle_rollback(rollback_id=rollback.pk, **WHO)}
    rollback.refresh_from_db()
    return found


def list_leases() -> list[tuple[int, str, str]]:
    return sorted(BillingLease.objects.values_list("account_id", "period", "biller"))


def expect_leases(**billers: str) -> list[tuple[int, str, str]]:
    """`expect_leases(m11="stripe")` for every account."""
    months = {f"m{month}": f"2026-{month}" for month in (11, 12)} | {"m01": "2027-01"}
    return sorted((pk, months[key], side) for pk in (5001, 5002, 5003) for key, side in billers.items())


def read_ends() -> set[datetime | None]:
    ids = set(CohortMember.objects.values_list("stripe_subscription_id", flat=True))
    return {gateway.get_subscription(pk).cancel_at for pk in ids}


BACK = expect_leases(m11="stripe", m12="legacy")
AS_BEFORE = expect_leases(m11="stripe", m12="stripe")


# -- killed, lost, late ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("plan_change", True),
        ("ask_for_change", True),
        ("note_applied", True),
        ("_hand_over", True),
        ("_finish", False),
        ("_finish", True),
    ],
)
def test_killed_at_a_line_and_done_again(cohort, monkeypatch, line, after):
    rollback, real, calls = decide(cohort), getattr(rollback_steps, line), []

    def kill(*args, **options):
        calls.append(line)
        if len(calls) > 1 or line == "_finish":
            if after:
                real(*args, **options)
            raise Killed
        return real(*args, **options)

    monkeypatch.setattr(rollback_steps, line, kill)
    with pytest.raises(Killed):
        settle_rollback(rollback_id=rollback.pk, **WHO)
    monkeypatch.setattr(rollback_steps, line, real)
    held = {(pk, month): side for pk, month, side in list_leases()}
    for step in RollbackStep.objects.filter(state="pending"):
        assert held[step.payer_id, "2026-12"] == "stripe", "a lease turns only with what Stripe has confirmed"

    assert set(settle(rollback).values()) <= {"done"}
    assert list_leases() == BACK
    assert read_ends() == {DECEMBER.start_at}
    assert rollback.state == "done"
    assert list(SubscriptionChange.objects.values_list("number", "state")) == [(1, "applied"), (1, "applied")]
    assert AuditEntry.objects.filter(action="rollback.payer_handed_back").count() == 2
    assert AuditEntry.objects.filter(action="cohort.rollback_finished").count() == 1


def lose_answers(monkeypatch: pytest.MonkeyPatch, *, is_done: bool) -> None:
    """Stripe is asked, and nobody hears whether it did it."""
    ask = gateway.change_subscription

    def ask_in_vain(*args: Any, **options: Any) -> None:
        if is_done:
            ask(*args, **options)
        raise gateway.GatewayUnavailable("no answer", outcome_unknown=True)

    monkeypatch.setattr(gateway, "change_subscription", ask_in_vain)


@pytest.mark.parametrize("is_done", [False, True])
def test_a_lost_answer_turns_no_lease_and_is_asked_for_again(cohort, monkeypatch, is_done):
    rollback = decide(cohort)
    with monkeypatch.context() as patch:
        lose_answers(patch, is_done=is_done)
        assert set(settle(rollback).values()) == {"failed"}
    assert list_leases() == AS_BEFORE
    alert = Alert.objects.get(name="rollback_step_failed", status="open")
    assert alert.detail.startswith("2 payers are not handed back yet; account 5001: ")
    assert all(RollbackStep.objects.values_list("error", flat=True))
    settle(rollback)
    assert list_leases() == BACK
    assert not Alert.objects.filter(name="rollback_step_failed", status="open").exists()
    assert SubscriptionChange.objects.count() == 2


def test_a_month_that_stripe_began_meanwhile_stays_stripes(cohort):
    rollback = decide(cohort)
    move(datetime(2026, 12, 2, tzinfo=UTC))
    assert set(settle(rollback).values()) == {"done"}
    assert list_leases() == expect_leases(m11="stripe", m12="stripe", m01="legacy")
    assert read_ends() == {JANUARY.start_at}
    late = Alert.objects.filter(name="rollback_delayed", severity="critical")
    assert sorted(late.values_list("subject", flat=True)) == ["account 5001", "account 5003"]
    assert set(RollbackStep.objects.values_list("period", flat=True)) == {"2027-01"}


def test_what_ended_before_anybody_looked_again_is_legacys(cohort, monkeypatch):
    rollback = decide(cohort)
    with monkeypatch.context() as patch:
        patch.setattr(rollback_steps, "_hand_over", lambda *args, **options: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            settle_rollback(rollback_id=rollback.pk, **WHO)
    move(datetime(2026, 12, 2, tzinfo=UTC))
    assert set(settle(rollback).values()) == {"done"}
    held = {(pk, month): side for pk, month, side in list_leases()}
    # 5001 had been told to end and did; 5003 had not, so that Stripe bills its December.
    assert held[5001, "2026-12"] == held[5002, "2026-12"] == "legacy"
    assert (held[5003, "2026-12"], held[5003, "2027-01"]) == ("stripe", "legacy")


def test_an_end_that_somebody_took_back_at_stripe_is_set_again(cohort):
    rollback = decide(cohort)
    settle(rollback)
    step = RollbackStep.objects.get(payer=5003)
    gateway.change_subscription(step.stripe_subscription_id, cancel_at="", idempotency_key="by hand")
    StripeSubscription.objects.create(
        stripe_subscription_id=step.stripe_subscription_id, customer="cus", status="active", created_at=NOW,
        last_event_at=datetime(2026, 11, 20, 10, tzinfo=UTC),
    )  # fmt: skip
    assert recheck_rollback(rollback_id=rollback.pk, **WHO)
    assert settle(rollback) == {5003: "done"}
    assert read_ends() == {DECEMBER.start_at}
    assert list_leases() == BACK


def test_the_sweep_settles_what_is_left(cohort):
    decide(cohort)
    assert (sweep_rollbacks(), sweep_rollbacks()) == (1, 0)
    assert list_leases() == BACK


def test_two_workers_at_once_ask_once(cohort, monkeypatch):
    rollback, ask, nested = decide(cohort), gateway.change_subscription, []

    def ask_while_another_does(subscription, **options):
        if not nested:
            nested.append(True)
            nested.append(settle(rollback))
        return ask(subscription, **options)

    monkeypatch.setattr(gateway, "change_subscription", ask_while_another_does)
    settle(rollback)
    assert len(nested) == 2
    assert SubscriptionChange.objects.count() == 2
    assert AuditEntry.objects.filter(action="lease.biller_set", after__biller="legacy").count() == 3


# -- withdrawn ---------------------------------------------------------------------------------------------------------


def test_a_withdrawn_rollback_leaves_everything_as_it_was(cohort):
    rollback = decide(cohort)
    settle(rollback)
    assert not CohortMember.objects.filter(held_account__isnull=False).exists()
    call_command("rollback_cohort", cohort="c", withdraw=True, reason="the drift is explained")
    rollback.refresh_from_db()
    cohort.refresh_from_db()
    assert (rollback.state, cohort.state) == ("withdrawn", "dual_run")
    assert list_leases() == AS_BEFORE
    assert read_ends() == {None}
    assert CohortMember.objects.filter(held_account__isnull=False).count() == 3
    assert list_remaining(rollback) == []
    assert not Alert.objects.filter(name="cohort_rolled_back", status="open").exists()
    again = decide(cohort)
    assert (settle(again), list_leases()) == ({5001: "done", 5003: "done"}, BACK)


def test_an_end_whose_answer_was_lost_does_not_come_after_its_withdrawal(cohort, monkeypatch):
    rollback = decide(cohort)
    with monkeypatch.context() as patch:
        lose_answers(patch, is_done=False)
        settle(rollback)
    withdraw_rollback(cohort_id=cohort.pk, reason="never mind", **WHO)
    assert set(settle(rollback).values()) == {"done"}
    assert read_ends() == {None}
    states = SubscriptionChange.objects.order_by("stripe_subscription_id", "number").values_list(
        "number", "state"
    )
    assert list(states) == [(1, "applied"), (2, "applied")] * 2, "asked for again, then lifted"


def test_a_worker_that_read_before_the_withdrawal_asks_for_nothing_any_more(cohort, monkeypatch):
    rollback, read, nested = decide(cohort), gateway.get_subscription, []

    def read_while_others_withdraw(subscription):
        held = read(subscription)
        if not nested:
            nested.append(True)
            settle(rollback)
            withdraw_rollback(cohort_id=cohort.pk, reason="never mind", **WHO)
            settle(rollback)
        return held

    with monkeypatch.context() as patch:
        patch.setattr(gateway, "get_subscription", read_while_others_withdraw)
        assert set(settle(rollback).values()) == {"done"}
    assert (read_ends(), list_leases()) == ({None}, AS_BEFORE)


def test_a_ready_cohort_goes_back_and_forth_without_leases(ready):
    rollback = decide(ready)
    settle(rollback)
    assert (list_leases(), read_ends()) == ([], {DECEMBER.start_at})
    withdraw_rollback(cohort_id=ready.pk, reason="never mind", **WHO)
    settle(rollback)
    ready.refresh_from_db()
    assert (ready.state, list_leases(), read_ends()) == ("ready", [], {None})


def test_what_ended_can_not_go_on_and_goes_back_after_all(cohort):
    rollback = decide(cohort)
    settle(rollback)
    withdraw_rollback(cohort_id=cohort.pk, reason="never mind", **WHO)
    move(datetime(2026, 12, 2, tzinfo=UTC))
    assert set(settle(rollback).values()) == {"failed"}
    assert "ended on 2026-12-01, so legacy bills it" in RollbackStep.objects.get(payer=5001).error
    assert list_leases() == BACK
    with pytest.raises(CannotRollBack, match="the earliest month is 2027-01"):
        decide(cohort, DECEMBER)
    decide(cohort, JANUARY)
    assert (set(settle(rollback).values()), rollback.state) == ({"done"}, "done")
    assert list_leases() == expect_leases(m11="stripe", m12="legacy", m01="legacy")


# -- decisions ---------------------------------------------------------------------------------------------------------


def make_migrated() -> Cohort:
    """Signed by two; its subscriptions are unknown to Stripe."""
    cohort = make_cohort()
    opened, _ = open_gate(cohort_id=cohort.pk, **WHO)
    for name, role in (("otto", "ops"), ("fay", "finance")):
        cohort = sign_off(
            cohort_id=cohort.pk, user=make_person(name, role), evidence_hash=opened.evidence_hash, now=NOW
        )
    assert cohort.state == CohortState.MIGRATED
    return cohort


@pytest.mark.django_db(databases=["default", "legacy"])
@pytest.mark.usefixtures("legacy_tables")
def test_a_migrated_cohort_keeps_its_evidence_and_its_signatures_are_void():
    cohort = make_migrated()
    rollback = decide(cohort)
    cohort.refresh_from_db()
    assert cohort.state == CohortState.ROLLED_BACK
    assert (rollback.state_before, rollback.evidence_hash) == ("migrated", cohort.evidence_hash)
    assert rollback.evidence == cohort.evidence != {}
    reasons = set(cohort.sign_offs.values_list("void_reason", flat=True))
    assert reasons == {"rolled back to legacy from 2026-12: drift"}
    told = Alert.objects.get(name="cohort_rolled_back")
    assert told.detail == "test hands 2 payers back to legacy from 2026-12 on: drift"
    assert decide(cohort).pk == rollback.pk, "the same again is the same"
    with pytest.raises(AlreadyRolledBack, match="is rolled back from 2026-12 on already"):
        decide(cohort, JANUARY)
    with pytest.raises(WrongCohortState):
        open_gate(cohort_id=cohort.pk, **WHO)


@pytest.mark.django_db(databases=["default", "legacy"])
@pytest.mark.usefixtures("legacy_tables")
def test_refusals():
    cohort = make_cohort(reconciled=False)
    with pytest.raises(InvalidInput, match="say why"):
        request_rollback(cohort_id=cohort.pk, period=DECEMBER, reason=" ", **WHO)
    with pytest.raises(CannotRollBack, match="more than a year away; the earliest month is 2026-12"):
        decide(cohort, Period(2028, 1))
    with pytest.raises(WrongCohortState, match="nothing to withdraw"):
        withdraw_rollback(cohort_id=cohort.pk, reason="x", **WHO)
    draft = create_cohort(name="draft", account_ids=[AccountFactory.create().pk], **WHO)
    with pytest.raises(WrongCohortState, match="there is nothing to roll back"):
        decide(draft)
    with pytest.raises(CommandError, match="month like 2026-10"):
        call_command("rollback_cohort", "--cohort=draft", "--from=december", "--reason=x")
    assert not Rollback.objects.exists()


@pytest.mark.django_db(databases=["default", "legacy"])
@pytest.mark.usefixtures("legacy_tables")
def test_the_constraints_hold_one_rollback_and_one_cohort_for_an_account():
    cohort = make_cohort(reconciled=False)
    rollback = decide(cohort)
    account = cohort.members.earliest("pk").account
    other = Cohort.objects.create(name="other", created_at=NOW)
    for wrong in (
        lambda: Rollback.objects.create(
            cohort=cohort, open_cohort=cohort, from_period="2026-12", reason="x", requested_at=NOW,
            state_before="ready",
        ),
        lambda: Rollback.objects.filter(pk=rollback.pk).update(open_cohort=None),
        lambda: Rollback.objects.filter(pk=rollback.pk).update(state="done"),
        lambda: RollbackStep.objects.update(state="done"),
        lambda: CohortMember.objects.create(cohort=other, account=account),
    ):  # fmt: skip
        with pytest.raises(IntegrityError), transaction.atomic():
            wrong()
    cohort.members.update(released_at=NOW)
    CohortMember.objects.create(cohort=other, account=account)
    Rollback.objects.update(state="withdrawn", open_cohort=None, withdrawn_at=NOW, withdraw_reason="x")
    cohort.refresh_from_db()


@pytest.mark.django_db(databases=["default", "legacy"])
@pytest.mark.usefixtures("legacy_tables")
def test_an_account_that_moves_again_keeps_its_rollback():
    cohort = make_cohort(reconciled=False)
    rollback = decide(cohort)
    rollback.steps.update(state="done", settled_at=NOW)
    Rollback.objects.update(state="done", finished_at=NOW)
    cohort.members.update(released_at=NOW)
    account_id = cohort.members.earliest("pk").account_id
    create_cohort(name="again", account_ids=[account_id], **WHO)
    with pytest.raises(CannotWithdraw, match=f"account {account_id} moves with cohort again by now"):
        withdraw_rollback(cohort_id=cohort.pk, reason="x", **WHO)


def test_months_between_are_leased_to_stripe_and_those_after_to_legacy(cohort):
    rollback = decide(cohort, JANUARY)
    settle(rollback)
    assert list_leases() == expect_leases(m11="stripe", m12="stripe", m01="legacy")
    assert read_ends() == {JANUARY.start_at}
    BillingLease.objects.filter(period="2026-12").delete()
    assert extend_leases(actor="test", now=NOW) == 3
    december = set(BillingLease.objects.filter(period="2026-12").values_list("biller", flat=True))
    assert december == {"stripe"}
    assert extend_leases(actor="test", now=datetime(2027, 1, 3, tzinfo=UTC)) == 3
    february = set(BillingLease.objects.filter(period="2027-02").values_list("biller", flat=True))
    assert february == {"legacy"}
    assert list_leases()[0] == (5001, "2026-11", "stripe")


def test_the_subscriptions_of_the_last_month_follow_their_plans_and_are_not_let_go_on(cohort):
    settle(decide(cohort))
    move(datetime(2026, 11, 30, 12, tzinfo=UTC))
    assert {one.outcome for one in sync_subscriptions(**WHO)} == {"unchanged"}
    assert read_ends() == {DECEMBER.start_at}


def test_a_dry_run_tells_and_changes_nothing(cohort, capsys):
    call_command("rollback_cohort", "--cohort=c", "--from=2026-12", "--dry-run")
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("account 5001, with 1 more: sub_")
    assert out[0].endswith("ends on 2026-12-01, 2 leases turn to legacy")
    assert out[-1] == "2 payers would go back to legacy from 2026-12 on"
    assert not Rollback.objects.exists()


def test_the_command_names_who_is_left_and_exits_with_1(cohort, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        lose_answers(patch, is_done=False)
        with pytest.raises(CommandError) as left:
            call_command("rollback_cohort", "--cohort=c", "--from=2026-12", "--reason=drift")
    assert left.value.returncode == 1
    assert "account 5001: failed: no answer" in capsys.readouterr().out
    call_command("rollback_cohort", "--cohort=c", "--from=2026-12", "--reason=drift")
    assert "cohort c from 2026-12 on: handed back, 2 payers just now" in capsys.readouterr().out


@pytest.mark.parametrize(("role", "may"), [("ops", True), ("finance", True), ("engineer", False)])
def test_who_may_roll_back_in_the_console(cohort, role, may):
    client = Client()
    client.force_login(make_person(role, role))
    for name in ("rollback", "withdraw", "retry_rollback"):
        address = reverse(f"admin:cohorts_cohort_{name}", args=[cohort.pk])
        if not may:
            Rollback.objects.get_or_create(
                cohort=cohort, open_cohort=cohort, from_period="2026-12", reason="x", requested_at=NOW,
                state_before="dual_run",
            )  # fmt: skip
        answer = client.post(address, {"from": "2027-01", "reason": "drift"})
        assert answer.status_code == (302 if may else 403), name
    if may:
        assert Rollback.objects.get().state == "withdrawing"
        assert Rollback.objects.get().requested_by == role


def test_a_subscription_that_would_end_where_the_new_cohort_begins_goes_on(cohort):
    settle(decide(cohort))
    again = create_cohort(name="again", account_ids=[5001, 5002, 5003], **WHO)
    options = ProvisioningOptions(use_test_clocks=True)
    with pytest.raises(CannotProvision, match="account 5001 has a subscription until 2026-12-01"):
        provision_cohort(cohort_id=again.pk, period=JANUARY, options=options, **WHO)
    provision_cohort(cohort_id=again.pk, period=DECEMBER, options=options, **WHO)
    start_dual_run(cohort_id=again.pk, **WHO)
    old, new = (set(one.members.values_list("stripe_subscription_id", flat=True)) for one in (cohort, again))
    assert old == new
    assert read_ends() == {None}
    assert list_leases() == expect_leases(m11="stripe", m12="stripe", m01="stripe")
    for step in RollbackStep.objects.all():
        StripeSubscription.objects.create(
            stripe_subscription_id=step.stripe_subscription_id, customer="cus", status="active", created_at=NOW,
            last_event_at=datetime(2026, 11, 20, 10, tzinfo=UTC),
        )  # fmt: skip
    assert not recheck_rollback(rollback_id=Rollback.objects.get().pk, **WHO), "it moves with another cohort"
