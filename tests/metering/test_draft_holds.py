"""Drafts are held until their month's usage is complete and sent: at most once, and released once."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from billing_worker import gateway
from billing_worker.accounts.models import Account, AuditEntry
from billing_worker.accounts.states import AccountStatus, Biller
from billing_worker.alerts.models import Alert
from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period
from billing_worker.mirror.models import StripeInvoice, StripeInvoiceLine
from metering.draft_window.completeness import list_reasons
from metering.draft_window.completions import declare_complete
from metering.draft_window.models import DraftHold, UsageCompletion
from metering.draft_window.services import HoldIsOver, HoldPolicy, ReasonMissing, plan_hold, request_release
from metering.draft_window.sweeping import sweep_holds
from metering.draft_window.working import CLAIM_EXPIRES_AFTER, work_hold
from metering.models import UsageFeed, UsageRecord
from metering.pulling.models import UsagePull
from metering.services.ingest import store_usage
from tests.factories import (
    AccountFactory,
    BillingLeaseFactory,
    ClockFactory,
    CustomerAccountFactory,
    make_service_key,
    make_tiers,
)
from tests.metering.factories import MeterEventFactory, make_input

pytestmark = pytest.mark.django_db
OCTOBER = Period(2026, 10)
DRAFTED = datetime(2026, 11, 1, tzinfo=UTC)
NOW = DRAFTED + timedelta(minutes=10)
POLICY = HoldPolicy()


class FakeInvoices:
    """One draft at Stripe, and the calls that changed it. `faults` are raised in turn, before or after the effect."""

    def __init__(self) -> None:
        self.status = "draft"
        self.auto_advance = True
        self.calls: list[str] = []
        self.faults: list[tuple[str, BaseException]] = []

    def get_invoice(self, invoice: str) -> Any:
        return self._describe()

    def set_auto_advance(self, invoice: str, enabled: bool) -> Any:
        return self._call(f"auto_advance={enabled}", lambda: setattr(self, "auto_advance", enabled))

    def finalize_invoice(self, invoice: str, *, auto_advance: bool, idempotency_key: str) -> Any:
        return self._call("finalize", lambda: setattr(self, "status", "open"))

    def _call(self, name: str, effect: Any) -> Any:
        place, fault = self.faults.pop(0) if self.faults else ("", None)
        if fault is not None and place == "before":
            raise fault
        if self.status != "draft":
            raise gateway.GatewayRejected("not a draft", stripe_code=None, param=None, status=400)
        self.calls.append(name)
        effect()
        if fault is not None:
            raise fault
        return self._describe()

    def _describe(self) -> Any:
        is_open = self.status != "draft"
        return type(
            "Invoice",
            (),
            {
                "status": self.status,
                "auto_advance": self.auto_advance,
                "created_at": DRAFTED,
                "finalized_at": DRAFTED + timedelta(hours=1) if is_open else None,
            },
        )


@pytest.fixture
def stripe(monkeypatch):
    fake = FakeInvoices()
    install(monkeypatch.setattr, fake)
    return fake


def install(put: Any, fake: FakeInvoices) -> None:
    for name in ("get_invoice", "set_auto_advance", "finalize_invoice"):
        put(gateway, name, getattr(fake, name))


@pytest.fixture
def account():
    return make_account()


def make_account(**changes: Any) -> Account:
    account = CustomerAccountFactory.create(**{"id": 5001, **changes})
    make_tiers(account, "ST", (None, "0.2"))
    BillingLeaseFactory.create(account=account)
    return account


def make_draft(account: Account, **changes: Any) -> StripeInvoice:
    line = changes.pop("line", {})
    values: dict[str, Any] = {
        "stripe_invoice_id": "in_1", "account": account, "customer": account.stripe_customer_id, "status": "draft",
        "currency": "usd", "billing_reason": "subscription_cycle", "period_start": OCTOBER.start_at,
        "period_end": OCTOBER.end_at, "created_at": DRAFTED, "last_event_at": DRAFTED,
        **dict.fromkeys(("subtotal_minor", "total_minor", "amount_due_minor", "amount_paid_minor",
                         "amount_remaining_minor"), 0),
    }  # fmt: skip
    if "account_id" in changes:
        del values["account"]
    invoice = StripeInvoice.objects.create(**values | changes)
    of_line = {
        "stripe_line_id": "il_1", "position": 0, "kind": "ST", "amount_minor": 0, "currency": "usd",
        "period_start": OCTOBER.start_at, "period_end": OCTOBER.end_at,
    }  # fmt: skip
    StripeInvoiceLine.objects.create(invoice=invoice, **of_line | line)
    return invoice


def plan(account: Account, **changes: Any) -> DraftHold:
    hold = plan_hold(invoice=make_draft(account, **changes), policy=POLICY, now=NOW)
    assert hold is not None
    return hold


def declare(account_ids: list[int] | None = None) -> None:
    declare_complete(period=OCTOBER, account_ids=account_ids, actor="test", now=NOW)


def reasons_of(account: Account) -> list[str]:
    return list_reasons(OCTOBER, payer_ids=[account.pk])[account.pk]


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


def work(hold: DraftHold, now: datetime = NOW, policy: HoldPolicy = POLICY) -> str:
    state = work_hold(hold_id=hold.pk, policy=policy, now=now)
    hold.refresh_from_db()
    return state


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


# -- faults and kills --------------------------------------------------------------------------------------------------

UNKNOWN = gateway.GatewayUnavailable("Stripe did not answer", outcome_unknown=True)


class Killed(BaseException):
    """The process ends here: nothing after it runs."""


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("fault", [UNKNOWN, Killed()])
def test_a_lost_answer_is_read_at_stripe_and_nothing_is_done_twice(account, stripe, place, fault):
    hold = plan(account)
    now = NOW
    for wanted, prepare in (("held", lambda: None), ("released", declare)):
        prepare()
        stripe.faults = [(place, fault)]
        with suppress(Killed):
            assert work(hold, now) != wanted
        assert work(hold, now) != wanted, "the pause or the claim of the dead worker keeps others away"
        now += CLAIM_EXPIRES_AFTER
        assert work(hold, now) == wanted
    assert stripe.calls == ["auto_advance=False", "auto_advance=True"]
    assert not Alert.objects.exists()


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("fault", [UNKNOWN, Killed()])
def test_finalizing_survives_a_lost_answer(account, stripe, place, fault):
    hold = plan(account)
    work(hold)
    declare()
    stripe.faults = [(place, fault)]
    now = DRAFTED + timedelta(hours=2)
    with suppress(Killed):
        assert work(hold, now) == "held"
    assert work(hold, now + CLAIM_EXPIRES_AFTER) == "released"
    assert stripe.calls == ["auto_advance=False", "finalize"]


def test_a_stripe_that_stays_away_is_alerted_and_resolved(account, stripe):
    hold = plan(account)
    stripe.faults = [("before", UNKNOWN)] * 5
    now = NOW
    for _ in range(5):
        assert work(hold, now) == "planned"
        now += timedelta(minutes=5)
    assert Alert.objects.get(status="open").name == "draft_hold_failed"
    assert work(hold, now) == "held"
    assert not Alert.objects.filter(status="open").exists()


class TestAnyOrder(TestCase):
    """Whatever comes in whatever order and however often: held at most once, released exactly once if it was held."""

    STEPS = st.lists(st.sampled_from(["created", "work", "sweep", "declare", "usage", "sent"]), max_size=14)

    @hypothesis_settings(max_examples=60, deadline=None)
    @given(steps=STEPS)
    def test_held_at_most_once_and_released_once(self, steps: list[str]) -> None:
        monkeypatch = pytest.MonkeyPatch()
        fake = FakeInvoices()
        install(monkeypatch.setattr, fake)
        try:
            self._run(steps, fake)
        finally:
            monkeypatch.undo()

    def _run(self, steps: list[str], fake: FakeInvoices) -> None:
        account = make_account()
        invoice = make_draft(account)
        day = 0
        for step in [*steps, "created", "work", "declare", "sent", "sweep", "sweep"]:
            if step == "created":
                plan_hold(invoice=invoice, policy=POLICY, now=NOW)
            elif step == "usage":
                day += 1
                record = make_input(account.pk, f"2026-10-{day:02}", "ST", 5)
                store_usage(records=[record], author="key", now=NOW)
            elif step == "sent":
                UsageRecord.objects.update(rolled_up_at=NOW)
            elif step == "declare":
                declare()
            else:
                for hold in DraftHold.objects.all() if step == "work" else ():
                    work_hold(hold_id=hold.pk, policy=POLICY, now=NOW)
                sweep_holds(policy=POLICY, clock=lambda: NOW)
        hold = DraftHold.objects.get()
        if hold.state == "released":
            assert fake.calls == ["auto_advance=False", "auto_advance=True"]
        else:
            assert (hold.state, fake.calls) == ("not_needed", [])


# -- over HTTP ---------------------------------------------------------------------------------------------------------


def post(body: Any, *scopes: str) -> Any:
    client = Client(headers={"authorization": f"Api-Key {make_service_key(*scopes)}"})
    return client.post("/usage/completions", json.dumps(body), content_type="application/json")


def test_a_completion_is_declared_once_and_shown(account):
    with time_machine.travel(NOW, tick=False):
        first = post({"period": "2026-10", "account_ids": [5001]})
        again = post({"period": "2026-10", "account_ids": [5001, 5001]})
    assert (first.status_code, first.json()) == (200, {"period": "2026-10", "declared": 1, "already": 0})
    assert again.json() == {"period": "2026-10", "declared": 0, "already": 1}
    assert UsageCompletion.objects.get().declared_by == "key:test"
    assert AuditEntry.objects.filter(action="metering.usage_declared_complete").count() == 1
    client = Client(headers={"authorization": f"Api-Key {make_service_key()}"})
    shown = client.get("/usage/5001/2026-10").json()["complete"]
    assert (shown["scope"], shown["declared_by"]) == ("5001", "key:test")
    assert not UsageFeed.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        [], {}, {"period": "2026-10"}, {"period": "2026-13", "account_ids": "all"},
        {"period": 202610, "account_ids": "all"}, {"period": "2026-10", "account_ids": []},
        {"period": "2026-10", "account_ids": ["5001"]}, {"period": "2026-10", "account_ids": [True]},
        {"period": "2026-10", "account_ids": [5001, 9999]}, {"period": "2026-10", "account_ids": "ALL"},
        {"period": "2026-11", "account_ids": "all"}, {"period": "2026-10", "account_ids": "all", "x": 1},
        {"period": "2026-10", "account_ids": [2**70]},
    ],
)  # fmt: skip
def test_a_malformed_completion_changes_nothing(account, body):
    with time_machine.travel(NOW, tick=False):
        assert post(body).status_code == 422
    assert not UsageCompletion.objects.exists()


def test_declaring_needs_the_scope(account):
    assert post({"period": "2026-10", "account_ids": "all"}, "usage:read").status_code == 403


def test_a_month_that_is_not_over_cannot_be_complete():
    with pytest.raises(InvalidInput, match="2026-11 is not over"):
        declare_complete(period=Period(2026, 11), account_ids=None, actor="test", now=NOW)


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
