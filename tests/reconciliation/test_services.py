"""Runs and the life of what they find."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User

from billing_worker.accounts.models import AuditEntry
from billing_worker.alerts.models import Alert
from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period
from billing_worker.legacy.selectors import LegacyUnavailable
from reconciliation import tasks
from reconciliation.models import AccountResult, Drift, ReconciliationRun
from reconciliation.selectors import get_found_drifts, get_open_drifts, get_period_evidence
from reconciliation.services import PeriodNotOver, accept_drift, assign_drift, run_reconciliation
from reconciliation.services.drifts import UnknownDrift, WrongDriftState
from reconciliation.states import DriftCause, DriftState, RunState
from tests.factories import AccountPlanFactory, BillingLeaseFactory, CustomerAccountFactory
from tests.legacy.tables import add_invoice, add_line
from tests.reconciliation.factories import add_stripe_invoice, make_stripe_line

pytestmark = [
    pytest.mark.django_db(databases=["default", "legacy"]),
    pytest.mark.usefixtures("legacy_tables"),
]
OCTOBER = Period(2026, 10)
NOW = datetime(2026, 11, 1, 6, tzinfo=UTC)


@pytest.fixture
def payer():
    account = CustomerAccountFactory.create()
    AccountPlanFactory.create(account=account)
    add_invoice(11, account.pk, "499.00")
    add_line(1, 11, "sub", "499.00")
    return account


@pytest.fixture
def person():
    return User.objects.create_user("fay", password="a-long-enough-word")


def run(*accounts, now=NOW, scope=""):
    return run_reconciliation(
        period=OCTOBER, payer_ids=[account.pk for account in accounts], scope=scope, now=now
    )


def bill_at_stripe(account, amount_minor=49900):
    return add_stripe_invoice(account, make_stripe_line("sub", amount_minor))


class TestRuns:
    def test_a_clean_run_is_kept_with_a_row_for_each_payer(self, payer):
        idle = CustomerAccountFactory.create()
        bill_at_stripe(payer)
        found = run(payer, idle, scope="cohort-1")
        assert (found.state, found.accounts_checked, found.accounts_with_drift) == (RunState.FINISHED, 2, 0)
        assert list(
            AccountResult.objects.values_list("account_id", "legacy_minor", "stripe_minor", "gross_minor")
        ) == [
            (payer.pk, 49900, 49900, 0),
            (idle.pk, 0, 0, 0),
        ]
        evidence = get_period_evidence(period="2026-10", scope="cohort-1", payer_ids=[payer.pk, idle.pk])
        assert evidence is not None
        assert evidence.is_clean

    def test_drift_is_kept_and_told(self, payer):
        bill_at_stripe(payer, 52900)
        found = run(payer, scope="cohort-1")
        drift = get_found_drifts(found).get()
        assert (drift.kind, drift.cause, drift.difference_minor) == ("sub", DriftCause.FLAT_FEE_DIFFERS, 3000)
        assert (drift.state, drift.first_run, drift.last_run) == (DriftState.OPEN, found, found)
        alert = Alert.objects.get(name="drift_found")
        assert (alert.subject, alert.severity, alert.status) == ("cohort-1 2026-10", "critical", "open")
        evidence = get_period_evidence(period="2026-10", scope="cohort-1", payer_ids=[payer.pk])
        assert evidence is not None
        assert not evidence.is_clean

    def test_not_before_the_period_is_over_and_not_for_nobody(self, payer):
        with pytest.raises(PeriodNotOver, match="2026-11-01 00:00"):
            run(payer, now=OCTOBER.end_at - timedelta(seconds=1))
        with pytest.raises(InvalidInput, match="nothing to reconcile"):
            run()
        assert not ReconciliationRun.objects.exists()

    def test_a_run_that_breaks_is_kept_as_failed_and_leaves_nothing_half(self, payer, monkeypatch):
        def break_down(**_):
            raise ZeroDivisionError("in the middle")

        bill_at_stripe(payer, 1)
        monkeypatch.setattr("reconciliation.services.runs.record_difference", break_down)
        with pytest.raises(ZeroDivisionError):
            run(payer)
        kept = ReconciliationRun.objects.get()
        assert (kept.state, kept.error) == (RunState.FAILED, "ZeroDivisionError: in the middle")
        assert not AccountResult.objects.exists()
        assert get_period_evidence(period="2026-10", scope="", payer_ids=[payer.pk]) is None

    def test_a_run_that_was_killed_is_closed_by_the_next_one(self, payer):
        bill_at_stripe(payer)
        killed = ReconciliationRun.objects.create(period="2026-10", started_at=NOW - timedelta(hours=2))
        recent = ReconciliationRun.objects.create(period="2026-10", started_at=NOW - timedelta(minutes=1))
        run(payer)
        killed.refresh_from_db()
        recent.refresh_from_db()
        assert (killed.state, recent.state) == (RunState.FAILED, RunState.RUNNING)
        assert "ended before" in killed.error

    def test_evidence_names_payers_that_the_run_did_not_cover(self, payer):
        other = CustomerAccountFactory.create()
        bill_at_stripe(payer)
        run(payer)
        evidence = get_period_evidence(period="2026-10", scope="cohort-9", payer_ids=[payer.pk, other.pk])
        assert evidence is not None
        assert evidence.missing_account_ids == (other.pk,)
        assert not evidence.is_clean

    def test_the_daily_task_covers_whoever_stripe_bills(self, payer):
        BillingLeaseFactory.create(account=payer, period=str(Period.of(datetime.now(UTC)).previous()))
        found = tasks.reconcile_current_period()
        kept = ReconciliationRun.objects.get()
        assert (kept.pk, kept.accounts_checked) == (found, 1)

    def test_the_daily_task_without_anybody(self, payer):
        assert tasks.reconcile_current_period() is None

    def test_the_daily_task_tells_when_legacy_does_not_answer(self, payer, monkeypatch):
        def refuse(*_, **__):
            raise LegacyUnavailable("the legacy database can't be read")

        BillingLeaseFactory.create(account=payer, period=str(Period.of(datetime.now(UTC)).previous()))
        monkeypatch.setattr("reconciliation.ledgers.get_bills", refuse)
        assert tasks.reconcile_current_period() is None
        assert Alert.objects.get(name="reconciliation_failed").detail == "the legacy database can't be read"
        assert ReconciliationRun.objects.get().state == RunState.FAILED


class TestDrifts:
    @pytest.fixture
    def drift(self, payer):
        bill_at_stripe(payer, 52900)
        run(payer)
        return Drift.objects.get()

    def test_found_again_it_stays_one_drift(self, payer, drift):
        second = run(payer)
        drift.refresh_from_db()
        assert (Drift.objects.count(), drift.last_run, drift.history.count()) == (1, second, 1)

    def test_changed_figures_are_history(self, payer, drift):
        bill_at_stripe(payer, 100)
        run(payer)
        drift.refresh_from_db()
        assert drift.difference_minor == 3100
        assert list(drift.history.values_list("note", "difference_minor")) == [
            ("found", 3000),
            ("figures changed", 3100),
        ]

    def test_gone_and_back(self, payer, drift):
        invoice = payer.stripe_invoices.get()
        invoice.lines.update(amount_minor=49900)
        run(payer)
        drift.refresh_from_db()
        assert (drift.state, drift.resolved_at) == (DriftState.RESOLVED, NOW)
        assert not get_open_drifts(period="2026-10", payer_ids=[payer.pk]).exists()
        assert Alert.objects.get(name="drift_found").status == "resolved"

        invoice.lines.update(amount_minor=52900)
        run(payer, now=NOW + timedelta(days=1))
        drift.refresh_from_db()
        assert (drift.state, drift.resolved_at) == (DriftState.OPEN, None)
        assert list(drift.history.values_list("state", "note")) == [
            ("open", "found"),
            ("resolved", "no longer found"),
            ("open", "found again"),
        ]

    def test_a_drift_in_a_currency_that_nobody_bills_any_more_is_gone_too(self, payer):
        bill_at_stripe(payer)
        stray = add_stripe_invoice(payer, make_stripe_line("custom", 700), currency="eur")
        run(payer)
        assert Drift.objects.get().currency == "eur"
        stray.status = "void"
        stray.save()
        run(payer)
        assert Drift.objects.get().state == DriftState.RESOLVED

    def test_a_run_for_others_leaves_it_alone(self, drift):
        run(CustomerAccountFactory.create())
        drift.refresh_from_db()
        assert drift.state == DriftState.OPEN

    def test_accepted_with_a_reason_it_counts_all_the_same(self, payer, drift, person):
        accept_drift(drift_id=drift.pk, user=person, reason=" agreed with the customer ", now=NOW)
        drift.refresh_from_db()
        assert (drift.state, drift.owner, drift.accepted_reason) == (
            DriftState.ACCEPTED, person, "agreed with the customer",
        )  # fmt: skip
        assert get_open_drifts(period="2026-10", payer_ids=[payer.pk]).get() == drift
        entry = AuditEntry.objects.get(action="drift.accepted")
        assert (entry.actor, entry.reason) == ("fay", "agreed with the customer")
        assert run(payer).accounts_with_drift == 1
        drift.refresh_from_db()
        assert drift.state == DriftState.ACCEPTED

    def test_accepted_and_changed_it_is_open_again(self, payer, drift, person):
        accept_drift(drift_id=drift.pk, user=person, reason="30.00 are agreed", now=NOW)
        bill_at_stripe(payer, 100)
        run(payer)
        drift.refresh_from_db()
        assert drift.state == DriftState.OPEN
        assert drift.history.last().note == "its figures changed after it was accepted"

    def test_refusals(self, payer, drift, person):
        with pytest.raises(InvalidInput, match="say why"):
            accept_drift(drift_id=drift.pk, user=person, reason="  ", now=NOW)
        with pytest.raises(UnknownDrift):
            accept_drift(drift_id=drift.pk + 1, user=person, reason="why", now=NOW)
        accept_drift(drift_id=drift.pk, user=person, reason="why", now=NOW)
        with pytest.raises(WrongDriftState, match="accepted"):
            accept_drift(drift_id=drift.pk, user=person, reason="again", now=NOW)
        payer.stripe_invoices.get().lines.update(amount_minor=49900)
        run(payer)
        with pytest.raises(WrongDriftState, match="resolved"):
            assign_drift(drift_id=drift.pk, owner=person, actor="fay", now=NOW)

    def test_somebody_looks_into_it(self, drift, person):
        for _ in range(2):
            assign_drift(drift_id=drift.pk, owner=person, actor="fay", now=NOW)
        drift.refresh_from_db()
        assert drift.owner == person
        assert [event.note for event in drift.history.all()] == ["found", "fay looks into it"]
