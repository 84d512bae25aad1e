"""The old service bills October 2026: by the rules to the cent, or with differences planted."""

from __future__ import annotations

from decimal import Decimal

import pytest

from sandbox.legacy.cohorts import read_cohorts
from sandbox.legacy.database import open_database
from sandbox.legacy.errors import LegacyDataError, LegacyError
from sandbox.legacy.generate import generate
from sandbox.legacy.months import Month
from sandbox.legacy.run_month import run_month
from sandbox.legacy.schema import IMPRESSIONS, INVOICE, INVOICE_LINE, LOAD_LOG, MANAGED_JOB, PLAN_USAGE
from tests.sandbox_legacy.conftest import PERIOD, SEED

# Worked out by hand from the price book and the usage in the README's table.
TOTALS = {
    1001: "249.00",
    1003: "160.65",  # 249.00 x 20 / 31
    1004: "99.00",  # the raise of the 15th is not due yet
    1005: "48000.00",
    1006: "99.99",
    1009: "296.00",  # 149 + 312,456 free + 61,250 x 2.40 / 1,000
    1013: "149.00",  # suspended
    1014: "6714.51",  # 499 + 89 + 3,920 + 380 + 760 + 102.40 + 324.11 + 640
    1016: "320233.00",  # 68,000 + 138,639 (138,638.5) + 81,156 + 32,438
    1017: "6989.00",  # 499 + 3,920 + 760 + 430 + 1,380
    1018: "8809.00",  # 499 + 3,920 + 0 + 760 + 3,200 + 0 + 430 + 0
    1020: "299.00",
    1021: "2496.26",  # 149 + 1,542.51 + 450 + 29.15 + 240 + 85.60
}


def read_totals(database, period="2026-10") -> dict[int, Decimal]:
    totals: dict[int, Decimal] = {}
    for row in database.rows(INVOICE, "period = ?", (period,)):
        totals[row["acct_id"]] = totals.get(row["acct_id"], Decimal(0)) + row["total"]
    return totals


def read_lines(database, acct_id: int) -> list[tuple[str, int, str, str]]:
    ids = [row["inv_id"] for row in database.rows(INVOICE, "acct_id = ? AND period = '2026-10'", (acct_id,))]
    return [
        (line["kind"], line["quantity"], str(line["unit_rate"]), str(line["amount"]))
        for inv_id in ids
        for line in database.rows(INVOICE_LINE, "inv_id = ?", (inv_id,))
    ]


class TestByTheRules:
    def test_awkward_accounts_are_billed_to_the_cent(self, legacy):
        run_month(legacy, PERIOD, shadow=True)
        totals = read_totals(legacy)
        assert {acct_id: str(totals[acct_id]) for acct_id in TOTALS} == TOTALS
        assert len(totals) == 58, "everybody but the closed account and the child"
        assert not {1007, 1015} & set(totals)

    def test_half_cents_one_above_a_bound_and_the_free_tier_are_lines(self, legacy):
        run_month(legacy, PERIOD, shadow=True)
        assert read_lines(legacy, 1021) == [
            ("sub", 1, "149.000000", "149.00"),
            ("ST", 500_000, "0.000000", "0.00"),
            ("ST", 1_234_004, "1.250000", "1542.51"),
            ("RM", 250_000, "1.800000", "450.00"),
            ("RM", 20_100, "1.450000", "29.15"),
            ("CV", 100_000, "2.400000", "240.00"),
            ("CV", 45_050, "1.900000", "85.60"),
        ]
        assert ("ST", 1, "0.760000", "0.00") in read_lines(legacy, 1018)
        assert read_lines(legacy, 1009)[1] == ("ST", 312_456, "0.000000", "0.00")

    def test_no_flat_fee_and_no_line_for_usage_at_zero(self, legacy):
        run_month(legacy, PERIOD, shadow=True)
        assert {kind for kind, *_ in read_lines(legacy, 1022)} == {"ST", "RM", "CV"}
        assert {kind for kind, *_ in read_lines(legacy, 1019)} == {"sub", "ST", "RM"}

    def test_only_jobs_done_in_the_month_and_not_billed_are_lines(self, legacy):
        run_month(legacy, PERIOD, shadow=True)
        managed = {
            acct_id: [amount for kind, _, _, amount in read_lines(legacy, acct_id) if kind == "managed"]
            for acct_id in (1014, 1023, 1024, 1025)
        }
        assert managed == {1014: ["640.00"], 1023: ["1250.00"], 1024: [], 1025: []}

    def test_a_child_with_a_customer_of_its_own_gets_its_own_invoice(self, legacy):
        legacy.execute("UPDATE account SET stripe_customer_id = 'cus_legacyChild01' WHERE acct_id = 1015")
        run_month(legacy, PERIOD, shadow=True)
        assert read_lines(legacy, 1015) == [
            ("sub", 1, "89.000000", "89.00"),
            ("managed", 1, "640.000000", "640.00"),
        ]
        # 499 + 3,600,000 x 0.98 + 460,000 x 1.52 + 150,750 x 2.15, each / 1,000
        assert str(read_totals(legacy)[1014]) == "5050.31"

    def test_a_shadow_run_leaves_drafts_and_no_other_trace(self, legacy):
        before = legacy.rows(MANAGED_JOB)
        run_month(legacy, PERIOD, shadow=True)
        assert {row["status"] for row in legacy.rows(INVOICE, "period = '2026-10'")} == {"draft"}
        assert legacy.rows(MANAGED_JOB) == before

    def test_a_real_run_sends_and_marks_jobs_billed(self, legacy):
        run_month(legacy, PERIOD, shadow=False)
        invoices = {row["inv_id"]: row for row in legacy.rows(INVOICE, "period = '2026-10'")}
        assert {row["status"] for row in invoices.values()} == {"sent"}
        job = legacy.rows(MANAGED_JOB, "acct_id = 1015")[0]
        assert job["status"] == "billed"
        assert invoices[job["billed_inv_id"]]["acct_id"] == 1014
        later = legacy.rows(MANAGED_JOB, "acct_id = 1023")
        assert [row["status"] for row in later] == ["billed", "done"]


class TestRefusals:
    def test_a_month_is_billed_once(self, legacy):
        run_month(legacy, PERIOD, shadow=True)
        with pytest.raises(LegacyError, match="billed already"):
            run_month(legacy, PERIOD, shadow=True)
        assert len(legacy.rows(INVOICE, "period = '2026-10'")) == 58

    def test_a_month_without_its_usage_is_not_billed_by_accident(self, legacy):
        with pytest.raises(LegacyError, match="30 of 30 days"):
            run_month(legacy, Month(2026, 11), shadow=True)
        run_month(legacy, Month(2026, 11), shadow=True, allow_incomplete=True)
        totals = read_totals(legacy, "2026-11")
        assert str(totals[1004]) == "149.00", "the raise is due now"
        assert str(totals[1003]) == "249.00", "a full month"
        assert str(totals[1023]) == "629.00", "149 + the job of the month's first moment"

    def test_contradicting_data_stop_the_run_whole(self, legacy):
        legacy.execute("UPDATE account SET parent_acct_id = 1015 WHERE acct_id = 1060")
        with pytest.raises(LegacyDataError, match="1060"):
            run_month(legacy, PERIOD, shadow=True)
        assert legacy.rows(INVOICE, "period = '2026-10'") == []


@pytest.fixture
def expected_totals(legacy_url, tmp_path_factory):
    """The totals without anything planted."""
    url = f"sqlite:///{tmp_path_factory.mktemp('plain') / 'plain.sqlite3'}"
    generate(url, period=PERIOD, seed=SEED, accounts=60, months=13)
    with open_database(url) as database:
        run_month(database, PERIOD, shadow=True)
        return read_totals(database)


class TestPlantedDifferences:
    def test_each_is_as_large_as_the_list_says_and_nothing_else_differs(self, legacy, expected_totals):
        run = run_month(legacy, PERIOD, shadow=True, plant=True)
        totals = read_totals(legacy)
        digits = {"USD": 2, "EUR": 2, "JPY": 0}
        planted = {
            item.acct_id: Decimal(item.difference_minor).scaleb(-digits[item.currency])
            for item in run.planted
        }
        assert all(planted.values())
        found = {
            acct_id: totals.get(acct_id, Decimal(0)) - total
            for acct_id, total in expected_totals.items()
            if totals.get(acct_id, Decimal(0)) != total
        }
        assert found == planted
        assert {item.kind: item.difference_minor for item in run.planted} == {
            "managed_amount": -6060,
            "managed_missing": -60600,
            "usage_restated": 2939,
            "managed_twice": 70700,
            "rate_edited": -33000,
            "custom_line": -8000,
            "invoice_duplicate": 565288,
            "invoice_missing": -348000,
        }

    def test_they_touch_cohort_3_only(self, legacy):
        before = read_cohorts(legacy)
        run = run_month(legacy, PERIOD, shadow=False, plant=True)
        assert {item.acct_id for item in run.planted} <= set(before["cohort-3"])
        assert read_cohorts(legacy) == before, "what was planted moves nobody"

    def test_each_can_be_seen_in_the_data(self, legacy):
        usage_before = {
            (r["acct_id"], r["day"], r["usage_type"]): r["impressions"] for r in legacy.rows(IMPRESSIONS)
        }
        loads_before = {row["day"]: row["completed_at"] for row in legacy.rows(LOAD_LOG)}
        run = run_month(legacy, PERIOD, shadow=True, plant=True)
        by_kind = {item.kind: item.acct_id for item in run.planted}
        kinds = {name: [line[0] for line in read_lines(legacy, acct_id)] for name, acct_id in by_kind.items()}
        assert kinds["custom_line"].count("custom") == 1
        assert kinds["invoice_missing"] == []
        assert (
            len(legacy.rows(INVOICE, "acct_id = ? AND period = '2026-10'", (by_kind["invoice_duplicate"],)))
            == 2
        )
        usage_after = {
            (r["acct_id"], r["day"], r["usage_type"]): r["impressions"] for r in legacy.rows(IMPRESSIONS)
        }
        restated = [key for key in usage_after if usage_after[key] != usage_before[key]]
        assert [key[0] for key in restated] == [by_kind["usage_restated"]]
        loads = {row["day"]: row["completed_at"] for row in legacy.rows(LOAD_LOG)}
        assert [day for day in loads if loads[day] > loads_before[day]] == [restated[0][1]]
        plan_rates = {
            row["rate"] for row in legacy.rows(PLAN_USAGE, "acct_id = ?", (by_kind["rate_edited"],))
        }
        billed_rates = {
            Decimal(rate)
            for kind, _, rate, _ in read_lines(legacy, by_kind["rate_edited"])
            if kind in ("ST", "RM", "CV")
        }
        assert len(billed_rates - plan_rates) == 1

    def test_a_failing_run_takes_the_restated_usage_back(self, legacy, monkeypatch):
        before = legacy.rows(IMPRESSIONS)
        monkeypatch.setattr("sandbox.legacy.run_month.store_invoices", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_month(legacy, PERIOD, shadow=True, plant=True)
        assert legacy.rows(IMPRESSIONS) == before
        assert legacy.rows(INVOICE, "period = '2026-10'") == []

    @pytest.mark.parametrize(("seed", "accounts"), [(1, 45), (2, 45), (3, 60), (4, 120), (99, 60)])
    def test_other_databases_have_room_for_them(self, seed, accounts, tmp_path):
        url = f"sqlite:///{tmp_path / 'seeded.sqlite3'}"
        generate(url, period=PERIOD, seed=seed, accounts=accounts, months=6)
        with open_database(url) as database:
            run = run_month(database, PERIOD, shadow=True, plant=True)
        assert len({item.acct_id for item in run.planted}) == len(run.planted) == 8


def test_mariadb_bills_the_same(mariadb_server, legacy):
    url = mariadb_server.create_database("legacy_billed")
    generate(url, period=PERIOD, seed=SEED, accounts=60, months=13)
    run_month(legacy, PERIOD, shadow=False, plant=True)
    with open_database(url) as database:
        run_month(database, PERIOD, shadow=False, plant=True)
        for table in (INVOICE, INVOICE_LINE, MANAGED_JOB, IMPRESSIONS):
            assert database.rows(table) == legacy.rows(table)
