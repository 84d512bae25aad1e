"""A draft is held once and released once, whoever dies where and whatever comes in which order."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from billing_worker import gateway
from billing_worker.alerts.models import Alert
from metering.draft_window.models import DraftHold
from metering.draft_window.services import HoldPolicy, plan_hold
from metering.draft_window.sweeping import sweep_holds
from metering.draft_window.working import CLAIM_EXPIRES_AFTER, work_hold
from metering.models import UsageRecord
from metering.services.ingest import store_usage
from tests.metering.drafts import (
    DRAFTED,
    NOW,
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
from tests.metering.factories import make_input

pytestmark = pytest.mark.django_db


@pytest.fixture
def stripe(monkeypatch):
    fake = FakeInvoices()
    install(monkeypatch.setattr, fake)
    return fake


@pytest.fixture
def account():
    return make_account()


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


@pytest.mark.parametrize("then", ["not needed", "released", "held"])
def test_a_call_that_comes_after_its_claim_was_lost_holds_nothing_for_ever(
    account, stripe, monkeypatch, then
):
    """The worker is suspended between its last look at the claim and the call; another one takes the hold over."""
    hold = plan(account)
    hold_at_stripe = stripe.set_auto_advance

    def stall(invoice: str, enabled: bool) -> object:
        monkeypatch.setattr(gateway, "set_auto_advance", hold_at_stripe)
        later = NOW + CLAIM_EXPIRES_AFTER
        if then == "not needed":
            declare()
        assert work(hold, later) == ("not_needed" if then == "not needed" else "held")
        if then == "released":
            declare()
            assert work(hold, later) == "released"
        return hold_at_stripe(invoice, enabled)

    monkeypatch.setattr(gateway, "set_auto_advance", stall)
    work_hold(hold_id=hold.pk, policy=POLICY, now=NOW)

    hold.refresh_from_db()
    assert hold.state == {"not needed": "not_needed", "released": "released", "held": "held"}[then]
    assert stripe.auto_advance is (then != "held")


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


@pytest.mark.parametrize(("place", "state"), [("before", "held"), ("after", "released")])
def test_a_release_that_died_is_looked_at_though_usage_came_meanwhile(account, stripe, place, state):
    """New usage makes the month incomplete again: the row must not stay half released for it."""
    hold = plan(account)
    work(hold)
    declare()
    stripe.faults = [(place, Killed())]
    now = DRAFTED + timedelta(hours=2)
    with suppress(Killed):
        work(hold, now)
    store_usage(records=[make_input(5001, "2026-10-07", "ST", 1)], author="test", now=now)
    assert reasons_of(account)
    assert sweep_holds(policy=POLICY, clock=lambda: now + CLAIM_EXPIRES_AFTER) == {state: 1}
    hold.refresh_from_db()
    assert (hold.release_cause == "complete") is (state == "released")
    assert stripe.calls.count("finalize") == (state == "released")


def test_a_draft_that_others_ended_is_not_held_for_ever(account, stripe):
    """Usage never becomes complete, and the deadline keeps drafts: what Stripe tells ends the hold."""
    keep = HoldPolicy(after_deadline="keep")
    hold = plan(account)
    work(hold)
    stripe.status = "void"
    DraftHold.objects.update(finalized_at=NOW)
    later = DRAFTED + timedelta(days=5)
    assert sweep_holds(policy=keep, clock=lambda: later) == {"overtaken": 1}
    assert not Alert.objects.exists()


def test_a_deleted_draft_ends_its_hold(account, stripe, monkeypatch):
    def answer_missing(_: str) -> Any:
        raise gateway.GatewayNotFound("gone", stripe_code="resource_missing", param="id", status=404)

    hold = plan(account)
    work(hold)
    declare()
    monkeypatch.setattr(gateway, "get_invoice", answer_missing)
    assert work(hold) == "overtaken"


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

    @pytest.mark.sqlite_only
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


@pytest.mark.parametrize(("looked_ahead", "is_released"), [(60, False), (3600, True)])
def test_overlapping_sweeps_share_their_work_and_a_clock_that_was_ahead_hides_nothing(
    account, stripe, looked_ahead, is_released
):
    hold = plan(account)
    assert work(hold) == "held"
    declare()
    DraftHold.objects.update(looked_at=NOW + timedelta(seconds=looked_ahead))

    sweep_holds(policy=POLICY, clock=lambda: NOW)

    hold.refresh_from_db()
    assert (hold.state == "released") is is_released
