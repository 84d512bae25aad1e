"""Drafts are held until their month's usage is complete and sent: at most once, and released once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from billing_worker.accounts.models import Account, AuditEntry
from billing_worker.accounts.states import AccountStatus, Biller
from billing_worker.alerts.models import Alert
from metering.draft_window.models import DraftHold
from metering.draft_window.services import HoldIsOver, HoldPolicy, ReasonMissing, plan_hold, request_release
from metering.draft_window.sweeping import sweep_holds
from metering.draft_window.working import work_hold
from metering.models import UsageRecord
from metering.pulling.models import UsagePull
from metering.services.ingest import store_usage
from tests.factories import (
    AccountFactory,
    BillingLeaseFactory,
    ClockFactory,
)
from tests.metering.drafts import (
    DRAFTED,
    NOW,
    OCTOBER,
    POLICY,
    FakeInvoices,
    declare,
    install,
    make_account,
    make_draft,
    plan,
    reasons_of,
    work,
)
from tests.metering.factories import MeterEventFactory, make_input

pytestmark = pytest.mark.django_db


@pytest.fixture
def stripe(monkeypatch):
    fake = FakeInvoices()
    install(monkeypatch.setattr, fake)
    return fake


@pytest.fixture
def account():
    return make_account()


# -- the rule ----------------------------------------------------------------------------------------------------------


def test_a_month_is_complete_when_it_is_declared_rolled_up_and_sent(account):
    assert reasons_of(account) == ["account 5001: its sender has not declared the month complete"]
    declare([5001])
    assert reasons_of(account) == []
    store_usage(records=[make_input(5001, "2026-10-31", "ST", 5)], author="key", now=NOW)
    assert reasons_of(account) == ["account 5001: 1 figures wait for the roll-up"]
    UsageRecord.objects.update(rolled_up_at=NOW)
    event = MeterEventFactory.create(account=account)
    assert reasons_of(account) == ["account 5001: meter events not counted by Stripe: 1 pending"]
    for state in ("unresolved", "rejected"):
        event.state, event.reason = state, "?"
        event.save()
        assert reasons_of(account) == [f"account 5001: meter events not counted by Stripe: 1 {state}"]
    event.state, event.reason = "skipped", "given up"
    event.save()
    assert reasons_of(account) == []


def test_a_monthly_total_needs_no_declaration(account):
    store_usage(records=[make_input(5001, "2026-10", "ST", 5)], author="key", now=NOW)
    UsageRecord.objects.update(rolled_up_at=NOW)
    assert reasons_of(account) == []


def test_a_pulled_month_is_complete_when_every_day_is_pulled(account):
    days = list(OCTOBER.iter_days())
    pulls = [
        UsagePull(source="redshift", day=day, state="done", pulled_at=NOW, fingerprint="x") for day in days
    ]
    UsagePull.objects.bulk_create(pulls[:-1])
    assert reasons_of(account) == ["account 5001: not pulled as complete: 2026-10-31"]
    pulls[-1].state, pulls[-1].detail = "partial", "one row refused"
    pulls[-1].save()
    assert reasons_of(account) == ["account 5001: not pulled as complete: 2026-10-31"]
    UsagePull.objects.filter(day=date(2026, 10, 31)).update(state="done")
    assert reasons_of(account) == []
    # What a service pushed is its sender's to declare, whatever the warehouse holds.
    store_usage(records=[make_input(5001, "2026-10-05", "ST", 5)], author="key", now=NOW)
    UsageRecord.objects.update(rolled_up_at=NOW)
    assert reasons_of(account) == ["account 5001: its sender has not declared the month complete"]


@pytest.mark.parametrize("change", ["suspended", "legacy", "no tiers"])
def test_an_account_with_nothing_due_needs_nothing(account, change):
    if change == "suspended":
        Account.objects.update(status=AccountStatus.SUSPENDED)
    elif change == "legacy":
        account.leases.update(biller=Biller.LEGACY)
    else:
        account.tiers.all().delete()
    assert reasons_of(account) == []


def test_a_child_that_bills_through_the_payer_holds_its_invoice(account):
    child = AccountFactory.create(id=5002, parent=account)
    BillingLeaseFactory.create(account=child)
    declare([5001])
    assert reasons_of(account) == ["account 5002: its sender has not declared the month complete"]
    declare()
    assert reasons_of(account) == []


# -- which drafts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"account_id": None},
        {"billing_reason": "subscription_create"},
        {"billing_reason": "manual"},
        {"line": {"kind": "sub"}},
        {"line": {"kind": "ST", "invoice_item": "ii_1"}},
        {"line": {"period_end": datetime(2026, 10, 20, tzinfo=UTC)}},
        {"line": {"period_start": OCTOBER.end_at, "period_end": datetime(2026, 12, 1, tzinfo=UTC)}},
    ],
)
def test_other_invoices_are_left_alone(account, changes):
    assert plan_hold(invoice=make_draft(account, **changes), policy=POLICY, now=NOW) is None
    assert not DraftHold.objects.exists()


def test_switched_off_nothing_is_planned(account):
    assert plan_hold(invoice=make_draft(account), policy=HoldPolicy(enabled=False), now=NOW) is None


def test_a_complete_month_costs_no_call(account, stripe):
    declare()
    hold = plan(account)
    assert hold.state == "not_needed"
    assert work_hold(hold_id=hold.pk, policy=POLICY, now=NOW) == "not_needed"
    assert stripe.calls == []


def test_an_invoice_finalized_before_its_creation_is_told_is_missed(account, stripe):
    hold = plan(account, status="open", finalized_at=NOW)
    assert (hold.state, hold.finalized_at) == ("missed", NOW)
    sweep_holds(policy=POLICY, clock=lambda: NOW)
    assert stripe.calls == []


# -- hold and release --------------------------------------------------------------------------------------------------


def test_within_stripes_hour_the_draft_is_given_back(account, stripe):
    hold = plan(account)
    assert [work(hold), work(hold)] == ["held", "held"]
    declare()
    assert sweep_holds(policy=POLICY, clock=lambda: NOW) == {"released": 1}
    hold.refresh_from_db()
    assert (hold.release_cause, hold.released_at, hold.reasons) == ("complete", NOW, [])
    assert stripe.calls == ["auto_advance=False", "auto_advance=True"]
    assert sweep_holds(policy=POLICY, clock=lambda: NOW) == {}


def test_after_stripes_hour_we_finalize_once_the_last_event_is_counted(account, stripe):
    hold = plan(account)
    work(hold)
    later = DRAFTED + timedelta(hours=3)
    MeterEventFactory.create(account=account, state="sent", sent_at=later - timedelta(minutes=1))
    declare()
    assert work(hold, later) == "held"
    assert hold.next_attempt_at == later + timedelta(minutes=4)
    assert work(hold, later + timedelta(minutes=3)) == "held"
    assert work(hold, later + timedelta(minutes=4)) == "released"
    assert stripe.calls == ["auto_advance=False", "finalize"]
    assert hold.finalized_at == DRAFTED + timedelta(hours=1)


def test_the_deadline_releases_and_tells(account, stripe):
    hold = plan(account)
    work(hold)
    assert work(hold, DRAFTED + timedelta(hours=47, minutes=59)) == "held"
    assert not Alert.objects.exists()
    assert sweep_holds(policy=POLICY, clock=lambda: DRAFTED + timedelta(hours=48)) == {"released": 1}
    hold.refresh_from_db()
    assert (hold.release_cause, stripe.calls) == ("deadline", ["auto_advance=False", "finalize"])
    alert = Alert.objects.get(status="open")
    assert (alert.name, alert.subject) == ("draft_hold_overdue", "in_1")
    assert "account 5001: its sender has not declared" in alert.detail


def test_the_deadline_can_keep_the_draft_held_until_usage_is_there(account, stripe):
    keep = HoldPolicy(after_deadline="keep")
    hold = plan(account)
    work(hold)
    later = DRAFTED + timedelta(days=10)
    assert work(hold, later, keep) == "held"
    assert Alert.objects.filter(status="open").count() == 1
    declare()
    assert work(hold, later, keep) == "released"
    assert not Alert.objects.filter(status="open").exists()


def test_the_deadline_runs_in_the_time_of_the_customers_clock(account, stripe):
    account.test_clock = ClockFactory.create(frozen_at=DRAFTED + timedelta(minutes=10))
    account.save()
    hold = plan(account)
    assert work(hold, DRAFTED + timedelta(days=400)) == "held"
    assert work(hold, DRAFTED + timedelta(days=400)) == "held"
    assert stripe.calls == ["auto_advance=False"]


def test_a_person_releases_with_a_reason(account, stripe):
    hold = plan(account)
    work(hold)
    with pytest.raises(ReasonMissing):
        request_release(hold_id=hold.pk, actor="ada", reason=" ", now=NOW)
    request_release(hold_id=hold.pk, actor="ada", reason="customer waits", now=NOW)
    assert work(hold) == "released"
    assert (hold.release_cause, hold.requested_by) == ("person", "ada")
    entry = AuditEntry.objects.get(action="metering.draft_released")
    assert (entry.actor, entry.reason, entry.subject_id) == ("ada", "customer waits", "in_1")
    with pytest.raises(HoldIsOver):
        request_release(hold_id=hold.pk, actor="ada", reason="again", now=NOW)


def test_switching_off_lets_held_drafts_go(account, stripe):
    hold = plan(account)
    work(hold)
    assert work(hold, policy=HoldPolicy(enabled=False)) == "released"
    assert hold.release_cause == "off"


def test_a_draft_that_somebody_else_holds_is_left_alone(account, stripe):
    stripe.auto_advance = False
    hold = plan(account)
    assert work(hold) == "not_needed"
    assert stripe.calls == []


def test_a_draft_finalized_by_others_while_held_is_overtaken(account, stripe):
    hold = plan(account)
    work(hold)
    stripe.status = "open"
    declare()
    assert work(hold) == "overtaken"
    assert stripe.calls == ["auto_advance=False"]


def test_a_draft_that_stripe_finalized_first_is_missed(account, stripe):
    hold = plan(account)
    stripe.status = "open"
    assert work(hold) == "missed"


# -- in the console ----------------------------------------------------------------------------------------------------


def test_the_console_shows_reasons_and_releases_with_permission(account, stripe, admin_client):
    hold = plan(account)
    work(hold)
    page = admin_client.get("/admin/metering/drafthold/").content.decode()
    assert "account 5001: its sender has not declared the month complete" in page
    detail = admin_client.get(f"/admin/metering/drafthold/{hold.pk}/change/").content.decode()
    assert "its sender has not declared" in detail
    body = {"action": "release_now", "_selected_action": [hold.pk], "reason": "agreed with finance"}
    answer = admin_client.post("/admin/metering/drafthold/", body, follow=True)
    assert "in_1 will be released" in answer.content.decode()
    hold.refresh_from_db()
    assert hold.request_reason == "agreed with finance"
