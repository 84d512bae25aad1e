"""The generated database: repeatable, explained by its own lines, with every awkward account in it."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections import Counter, defaultdict
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import legacy as legacy_package
from sandbox.legacy.awkward import make_awkward_accounts
from sandbox.legacy.cohorts import read_cohorts
from sandbox.legacy.database import Database, open_database
from sandbox.legacy.errors import LegacyError
from sandbox.legacy.generate import generate
from sandbox.legacy.months import Month
from sandbox.legacy.roster import make_roster
from sandbox.legacy.schema import ACCOUNT, IMPRESSIONS, INVOICE, INVOICE_LINE, LOAD_LOG, MANAGED_JOB, TABLES
from sandbox.legacy.usage import split_total
from tests.sandbox_legacy.conftest import PERIOD, SEED

# Changes only when the invented data are meant to change; the demo's numbers change with it.
CONTENT_HASH = "f9be77200dfd28173a25d00f9f40c47fca9d526afcdfd3d4e76a35447de5c7cb"


def hash_rows(database: Database) -> str:
    digest = hashlib.sha256()
    for table in TABLES:
        for row in database.rows(table):
            digest.update(repr(sorted((key, str(value)) for key, value in row.items())).encode())
    return digest.hexdigest()


class TestRepeatability:
    def test_the_default_database_holds_the_rows_it_always_held(self, legacy):
        assert hash_rows(legacy) == CONTENT_HASH

    def test_another_seed_gives_other_rows(self, tmp_path):
        url = f"sqlite:///{tmp_path / 'other.sqlite3'}"
        generate(url, period=PERIOD, seed=1, accounts=60, months=13)
        with open_database(url) as database:
            assert hash_rows(database) != CONTENT_HASH

    def test_more_accounts_leave_the_awkward_ones_as_they_are(self, legacy, tmp_path):
        url = f"sqlite:///{tmp_path / 'more.sqlite3'}"
        generate(url, period=PERIOD, seed=SEED, accounts=90, months=3)
        with open_database(url) as database:
            awkward = ("acct_id <= ?", (1026,))
            assert len(database.rows(ACCOUNT)) == 90
            for table in (ACCOUNT, IMPRESSIONS):
                assert database.rows(table, *awkward) == legacy.rows(table, *awkward)

    @pytest.mark.parametrize("period", [Month(2024, 2), Month(2026, 3), Month(2027, 1)])
    def test_any_period_can_be_the_one_to_be_billed(self, period, tmp_path):
        url = f"sqlite:///{tmp_path / 'any.sqlite3'}"
        generate(url, period=period, seed=SEED, accounts=45, months=3)
        with open_database(url) as database:
            days = {row["day"] for row in database.rows(LOAD_LOG)}
            periods = {row["period"] for row in database.rows(INVOICE)}
        assert days == {*period.plus(-1).days, *period.days}
        assert periods == {str(period.plus(-back)) for back in (1, 2, 3)}


class TestHistory:
    def test_thirteen_months_are_billed_and_the_period_is_not(self, legacy):
        periods = {row["period"] for row in legacy.rows(INVOICE)}
        assert periods == {
            "2025-09",
            "2025-10",
            "2025-11",
            "2025-12",
            *(f"2026-{n:02d}" for n in range(1, 10)),
        }

    def test_lines_explain_every_total(self, legacy):
        sums: dict[int, Decimal] = defaultdict(Decimal)
        for line in legacy.rows(INVOICE_LINE):
            sums[line["inv_id"]] += line["amount"]
        for invoice in legacy.rows(INVOICE):
            assert invoice["total"] == invoice["subtotal"] == sums[invoice["inv_id"]], invoice
            assert invoice["total"] > 0
            assert invoice["tax"] == 0
            assert invoice["currency"] != "JPY" or invoice["total"] == int(invoice["total"])
            assert (invoice["paid_at"] is not None) == (invoice["status"] == "paid")

    def test_the_month_before_is_billed_from_its_daily_impressions(self, legacy):
        loaded: Counter[tuple[int, str]] = Counter()
        for row in legacy.rows(IMPRESSIONS, "day < ?", (date(2026, 10, 1),)):
            payer = 1014 if row["acct_id"] == 1015 else row["acct_id"]
            loaded[payer, row["usage_type"]] += row["impressions"]
        billed: Counter[tuple[int, str]] = Counter()
        invoices = {row["inv_id"]: row["acct_id"] for row in legacy.rows(INVOICE, "period = ?", ("2026-09",))}
        for line in legacy.rows(INVOICE_LINE):
            if line["inv_id"] in invoices and line["kind"] in ("ST", "RM", "CV"):
                billed[invoices[line["inv_id"]], line["kind"]] += line["quantity"]
        loaded = +Counter({key: count for key, count in loaded.items() if key[0] != 1013})  # suspended
        assert loaded == billed
        assert len(billed) > 80

    def test_a_period_can_hold_more_than_one_invoice(self, legacy):
        rows = legacy.rows(INVOICE)
        seen = Counter((row["acct_id"], row["period"]) for row in rows)
        twice = {key for key, count in seen.items() if count == 2}
        statuses = Counter(
            tuple(row["status"] for row in rows if (row["acct_id"], row["period"]) == key) for key in twice
        )
        assert statuses == {("void", "paid"): 2, ("paid", "paid"): 2}

    def test_billed_jobs_point_to_the_invoice_that_holds_them(self, legacy):
        billed = legacy.rows(MANAGED_JOB, "status = 'billed'")
        lines = defaultdict(list)
        for line in legacy.rows(INVOICE_LINE, "kind = 'managed'"):
            lines[line["inv_id"]].append(line)
        assert len(billed) > 40
        for job in billed:
            texts = {line["description"]: line["amount"] for line in lines[job["billed_inv_id"]]}
            assert texts[f"Managed service job {job['job_id']}: {job['title']}"] == job["amount"]

    @pytest.mark.parametrize(
        ("acct_id", "period", "total"),
        [
            (1001, "2026-08", "199.00"),  # the raise of the 14th holds from September
            (1001, "2026-09", "249.00"),
            (1006, "2026-09", "50.00"),  # 99.99 x 15 / 30 = 49.995
            (1007, "2026-07", "79.00"),  # closed on the 20th, billed in full
            (1007, "2026-08", None),
            (1013, "2026-09", "149.00"),  # suspended
            (1015, "2026-09", None),  # billed through its parent
        ],
    )
    def test_what_awkward_accounts_were_billed(self, legacy, acct_id, period, total):
        rows = legacy.rows(INVOICE, "acct_id = ? AND period = ?", (acct_id, period))
        assert [str(row["total"]) for row in rows] == ([] if total is None else [total])


class TestAwkwardAccounts:
    def test_the_readme_lists_each_of_them(self):
        readme = Path(legacy_package.__file__).with_name("README.md").read_text(encoding="utf-8")
        listed = re.findall(r"^\| (\d{4}) \| (.+?) \| (.+?) \|$", readme, flags=re.MULTILINE)
        specs = make_awkward_accounts(PERIOD, SEED)
        assert listed == [(str(spec.acct_id), spec.name, spec.case) for spec in specs]

    def test_usage_in_the_period_is_what_each_case_needs(self, legacy):
        usage: Counter[tuple[int, str]] = Counter()
        days: dict[int, set[date]] = defaultdict(set)
        for row in legacy.rows(IMPRESSIONS, "day >= ? AND acct_id <= 1026", (PERIOD.first,)):
            usage[row["acct_id"], row["usage_type"]] += row["impressions"]
            days[row["acct_id"]].add(row["day"])
        assert (usage[1017, "ST"], usage[1018, "ST"]) == (5_000_000, 5_000_001)
        assert usage[1014, "ST"] + usage[1015, "ST"] == 5_500_000
        assert usage[1013, "ST"] > 0, "the suspended account has usage"
        assert min(days[1012]) == date(2026, 10, 20), "nothing before the start"
        assert len(days[1019]) == 31
        assert usage[1019, "CV"] == 0
        assert (1019, "CV") in usage, "zeros are loaded as rows"
        assert 1020 not in days, "no row at all"

    def test_every_address_is_invented(self, legacy):
        for row in legacy.rows(ACCOUNT):
            addresses = [row["billing_email"], *(row["billing_cc"] or "").split(", ")]
            for address in filter(None, addresses):
                assert re.fullmatch(r"[a-z]+@[a-z0-9.-]+\.example\.com", address), address
            assert row["stripe_customer_id"] is None

    def test_names_and_mail_addresses_are_unique(self):
        roster = make_roster(period=PERIOD, seed=SEED, accounts=500)
        assert len({spec.name for spec in roster}) == len({spec.slug for spec in roster}) == 500


class TestCohorts:
    def test_they_follow_from_the_data_as_the_roster_meant_them(self, legacy):
        roster = make_roster(period=PERIOD, seed=SEED, accounts=60)
        meant = {f"cohort-{n}": [spec.acct_id for spec in roster if spec.cohort == n] for n in (1, 2, 3)}
        assert read_cohorts(legacy) == meant
        assert [len(members) for members in meant.values()] == [19, 28, 12]

    def test_a_child_moves_with_its_parent_and_a_closed_account_not_at_all(self, legacy):
        cohorts = read_cohorts(legacy)
        assert {1014, 1015} <= set(cohorts["cohort-2"])
        assert all(1007 not in members for members in cohorts.values())

    def test_a_child_with_a_customer_of_its_own_is_judged_by_itself(self, legacy):
        legacy.execute("DELETE FROM managed_service_job WHERE acct_id = 1015")
        legacy.execute("UPDATE account SET stripe_customer_id = 'cus_legacyChild01' WHERE acct_id = 1015")
        assert 1015 in read_cohorts(legacy)["cohort-1"]


class TestWriting:
    def test_a_database_that_exists_is_kept_unless_told(self, legacy_url):
        with pytest.raises(LegacyError, match="--replace"):
            generate(legacy_url, period=PERIOD, seed=2, accounts=60, months=3)
        with open_database(legacy_url) as database:
            assert hash_rows(database) == CONTENT_HASH
        generate(legacy_url, period=PERIOD, seed=2, accounts=60, months=3, replace=True)
        with open_database(legacy_url) as database:
            assert hash_rows(database) != CONTENT_HASH

    def test_a_file_appears_whole_or_not_at_all(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Database, "highest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            generate(f"sqlite:///{tmp_path / 'x.sqlite3'}", period=PERIOD, seed=1, accounts=60, months=3)
        assert list(tmp_path.iterdir()) == []

    def test_sqlite_enforces_the_choices(self, legacy):
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            legacy.execute("UPDATE account SET status = 'asleep' WHERE acct_id = 1001")

    def test_mariadb_holds_the_same_rows(self, mariadb_server):
        url = mariadb_server.create_database("legacy_generated")
        generate(url, period=PERIOD, seed=SEED, accounts=60, months=13)
        with open_database(url) as database:
            assert hash_rows(database) == CONTENT_HASH
            assert len(read_cohorts(database)["cohort-3"]) == 12
        with pytest.raises(LegacyError, match="--replace"):
            generate(url, period=PERIOD, seed=SEED, accounts=60, months=3)


@given(st.integers(0, 10**12), st.lists(st.integers(1, 1_000), min_size=1, max_size=31))
def test_days_sum_to_the_month(total, weights):
    parts = split_total(total, weights)
    assert sum(parts) == total
    assert len(parts) == len(weights)
    assert min(parts) >= 0
