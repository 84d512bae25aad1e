"""The commands of the move: what they print, and that a refusal is one line and exit code 2."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from billing_worker.accounts.models import BillingLease, TestClock
from cohorts.models import Cohort
from cohorts.states import CohortState
from reconciliation.models import ReconciliationRun
from tests.cohorts.factories import Month, make_cohort
from tests.factories import AccountFactory, ClockFactory

pytestmark = [
    pytest.mark.django_db(databases=["default", "legacy"]),
    pytest.mark.usefixtures("legacy_tables"),
]


def run(command: str, *arguments: str, expect: int = 0) -> str:
    """What it wrote; the exit code has to be `expect`."""
    out = io.StringIO()
    code: object = 0
    try:
        call_command(command, *arguments, stdout=out, stderr=out)
    except SystemExit as leave:
        code = leave.code
    assert code == expect
    return out.getvalue().strip()


def refuse(command: str, *arguments: str) -> str:
    with pytest.raises(CommandError) as refusal:
        call_command(command, *arguments, stdout=io.StringIO())
    assert refusal.value.returncode == 2
    message = str(refusal.value)
    assert "\n" not in message
    return message


class TestCreate:
    def test_from_ids_and_from_a_file(self, tmp_path: Path):
        one, two = AccountFactory.create(), AccountFactory.create()
        assert (
            run("create_cohort", "cohort-1", "--accounts", f"{one.pk}, ")
            == "cohort cohort-1: 1 accounts, draft"
        )
        path = tmp_path / "cohorts.json"
        path.write_text(json.dumps({"cohort-2": [two.pk]}))
        assert (
            run("create_cohort", "cohort-2", "--from-file", str(path)) == "cohort cohort-2: 1 accounts, draft"
        )

    def test_refusals(self, tmp_path: Path):
        assert "takes numbers, not ten" in refuse("create_cohort", "c", "--accounts", "10,ten")
        assert "account 10 is unknown" in refuse("create_cohort", "c", "--accounts", "10")
        assert "can't read" in refuse("create_cohort", "c", "--from-file", str(tmp_path / "none.json"))
        path = tmp_path / "cohorts.json"
        for text in ('{"c": "10"}', '{"c": [true]}', "[]", '{"d": [10]}'):
            path.write_text(text)
            assert "no list of account ids under 'c'" in refuse(
                "create_cohort", "c", "--from-file", str(path)
            )
        path.write_text("{")
        assert "can't read" in refuse("create_cohort", "c", "--from-file", str(path))


class TestReconcile:
    def test_not_one_cent(self):
        make_cohort()
        text = run("reconcile", "--period", "2026-10", "--cohort", "cohort-1")
        assert text.endswith("for 2026-10: 2 accounts checked, not one cent apart")
        assert run("reconcile", "--period", "2026-10").endswith("2 accounts checked, not one cent apart")

    def test_drift_is_a_table_and_exit_code_1(self):
        make_cohort(Month("Tern & Co", 14900, 15000))
        text = run("reconcile", "--period", "2026-10", "--cohort", "cohort-1", expect=1)
        for part in ("Tern & Co", "149.00 USD", "150.00 USD", "1.00 USD", "Flat fee differs", "1 with drift"):
            assert part in text

    def test_json(self):
        cohort = make_cohort(Month("Tern & Co", 14900, 15000))
        account = cohort.members.get().account_id
        found = json.loads(
            run("reconcile", "--period", "2026-10", "--cohort", "cohort-1", "--json", expect=1)
        )
        assert (found["accounts_checked"], found["accounts_with_drift"], found["scope"]) == (1, 1, "cohort-1")
        (result,) = found["results"]
        assert result == {
            "account_id": account, "currency": "usd", "legacy_minor": 14900, "stripe_minor": 15000,
            "difference_minor": 100,
        }  # fmt: skip
        (drift,) = found["drifts"]
        assert (drift["account_id"], drift["cause"], drift["difference_minor"]) == (
            account,
            "flat_fee_differs",
            100,
        )

    def test_refusals(self):
        make_cohort()
        assert "is not a month" in refuse("reconcile", "--period", "october")
        assert refuse("reconcile", "--period", "2026-10", "--cohort", "x") == (
            "there is no cohort 'x'; known: cohort-1"
        )
        BillingLease.objects.all().delete()
        assert "nothing to reconcile" in refuse("reconcile", "--period", "2026-10")
        month = f"{datetime.now(UTC):%Y-%m}"
        assert "reconcile it after that" in refuse("reconcile", "--period", month, "--cohort", "cohort-1")
        assert not ReconciliationRun.objects.filter(period=month).exists()


class TestGate:
    def test_check_shows_every_condition_and_changes_nothing(self):
        make_cohort()
        text = run("open_gate", "cohort-1", "--check")
        assert text.count("ok  ") == 6
        assert Cohort.objects.get().state == CohortState.DUAL_RUN

    def test_check_of_a_closed_gate_exits_1(self):
        make_cohort(Month("Tern & Co", 14900, 15000))
        assert "FAIL Zero drift" in run("open_gate", "cohort-1", "--check", expect=1)
        assert "the gate of cohort cohort-1 is closed. Zero drift" in refuse("open_gate", "cohort-1")

    def test_open(self):
        make_cohort()
        assert "the gate is open, evidence " in run("open_gate", "cohort-1")
        assert Cohort.objects.get().state == CohortState.CLEAN

    def test_a_draft_has_none(self):
        run("create_cohort", "cohort-1", "--accounts", str(AccountFactory.create().pk))
        assert "provision it first" in run("open_gate", "cohort-1", "--check", expect=1)
        assert "can't become clean cycle" in refuse("open_gate", "cohort-1")
        assert "can't become dual run" in refuse("start_dual_run", "cohort-1")


def test_start_dual_run():
    make_cohort(state=CohortState.READY, dual_run_at=None)
    assert run("start_dual_run", "cohort-1") == "cohort cohort-1: dual run of 2026-10"


class TestLiveMode:
    def test_test_clocks_and_test_cards_are_refused(self, settings):
        settings.STRIPE_LIVE_MODE = True
        make_cohort(state=CohortState.DRAFT)
        for option in (["--test-clocks"], ["--test-payment-method", "pm_card_visa"]):
            assert "need a test key" in refuse("provision_cohort", "cohort-1", "--period", "2026-10", *option)
        assert "test mode only" in refuse("advance_test_clocks", "--to", "2026-11-01T00:00:00Z")


class TestClocks:
    @pytest.mark.parametrize(
        ("instant", "why"), [("tomorrow", "is not a time"), ("2026-11-01T02:00", "lacks a zone")]
    )
    def test_instants_are_told_in_full(self, instant, why):
        assert why in refuse("advance_test_clocks", "--to", instant)

    def test_stripe_that_does_not_answer_is_one_line(self):
        ClockFactory.create()
        assert refuse("advance_test_clocks", "--to", "2026-11-01T02:00:00Z")

    def test_clocks_past_it_stay(self):
        ClockFactory.create(frozen_at=datetime(2026, 12, 1, tzinfo=UTC))
        assert run("advance_test_clocks", "--to", "2026-11-01T03:00:00+01:00") == (
            "0 of 1 test clocks moved; all stand at 2026-11-01 02:00 UTC or later"
        )
        assert TestClock.objects.get().frozen_at == datetime(2026, 12, 1, tzinfo=UTC)
