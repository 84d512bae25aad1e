"""The old service bills October 2026 with its own code, Stripe's side follows the plan: planted differences are found.

The old service is a program of its own with its own implementation of the rules, so a month without planted differences
is also a proof that both implementations agree to the cent.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from billing_worker.accounts.expected import compute_expected_ledger
from billing_worker.accounts.models import Account
from billing_worker.core.periods import Period
from billing_worker.legacy.models import LEGACY_MODELS
from billing_worker.mirror.models import StripeInvoiceLine
from reconciliation.services import compare_period
from reconciliation.services.runs import PayerComparison
from tests.reconciliation.factories import add_stripe_invoice, make_stripe_line
from tests.support.processes import ROOT

pytestmark = [
    pytest.mark.django_db(databases=["default", "legacy"]),
    pytest.mark.usefixtures("legacy_tables"),
    pytest.mark.slow,
]
OCTOBER = Period(2026, 10)
CAUSES = {
    "managed_amount": "job_amount_differs",
    "managed_missing": "job_missing_in_legacy",
    "usage_restated": "quantity_differs",
    "managed_twice": "job_billed_again",
    "rate_edited": "rate_differs",
    "custom_line": "custom_line",
    "invoice_duplicate": "duplicate_in_legacy",
    "invoice_missing": "missing_in_legacy",
}


def run_legacy(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sandbox.legacy", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.fixture(scope="module")
def old_service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The old service's database before it bills October, and what it measured (`usage.jsonl`)."""
    folder = tmp_path_factory.mktemp("old-service")
    database = f"sqlite:///{folder / 'legacy.sqlite3'}"
    run_legacy("generate", "--database", database, "--period", "2026-10")
    run_legacy("usage", "--database", database, "--period", "2026-10", "--output", folder / "usage.jsonl")
    return folder


@pytest.fixture
def book(old_service: Path) -> Path:
    """The month billed by Stripe as the plan says, from the accounts that were imported before legacy ran."""
    load_legacy(old_service / "legacy.sqlite3")
    call_command("import_accounts", verbosity=0, stdout=sys.stderr)
    bill_by_plan(old_service / "usage.jsonl")
    return old_service


def load_legacy(path: Path) -> None:
    """Put the old service's rows where the application reads them."""
    with closing(sqlite3.connect(path)) as source, connections["legacy"].cursor() as cursor:
        for model in LEGACY_MODELS:
            columns = [str(field.column) for field in model._meta.concrete_fields]
            table, names = model._meta.db_table, ", ".join(columns)
            cursor.execute(f"DELETE FROM {table}")
            rows = source.execute(f"SELECT {names} FROM {table}").fetchall()
            places = ", ".join(["%s"] * len(columns))
            cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", rows)


def bill_by_plan(usage_file: Path) -> None:
    usage: defaultdict[int, dict[Any, int]] = defaultdict(lambda: defaultdict(int))
    for line in usage_file.read_text().splitlines():
        record = json.loads(line)
        usage[record["account_id"]][record["usage_type"]] += record["quantity"]
    accounts = Account.objects.in_bulk()
    for payer_id, expected in compute_expected_ledger(OCTOBER, usage=usage).items():
        lines = [make_line(line) for line in expected]
        flat = [line for line in lines if line.kind == "sub"]
        arrears = [line for line in lines if line.kind != "sub"]
        for part in (flat, arrears):
            if part:
                add_stripe_invoice(accounts[payer_id], *part)


def make_line(line: Any) -> StripeInvoiceLine:
    return make_stripe_line(
        line.kind,
        line.amount_minor,
        quantity=line.quantity,
        unit_amount_decimal=line.unit_amount_decimal,
        metadata={"kind": "managed", "job_id": line.reference} if line.reference else {},
    )


def bill_october(book: Path, tmp_path: Path, *options: str | Path) -> list[PayerComparison]:
    """The old service bills a copy of its database, and both ledgers are compared."""
    path = tmp_path / "legacy.sqlite3"
    path.write_bytes((book / "legacy.sqlite3").read_bytes())
    run_legacy("run-month", "--database", f"sqlite:///{path}", "--period", "2026-10", "--shadow", *options)
    load_legacy(path)
    payers = Account.objects.filter(parent__isnull=True).values_list("pk", flat=True)
    return compare_period(period=OCTOBER, payer_ids=list(payers))


def test_a_month_without_planted_differences_has_none_for_any_account(book, tmp_path):
    comparisons = bill_october(book, tmp_path)
    assert [item for item in comparisons if item.differences] == []
    assert len([item for item in comparisons if item.legacy_minor]) == 58, (
        "all but the closed account and the child"
    )
    assert {item.currency for item in comparisons} == {"usd", "eur", "jpy"}


def test_every_planted_difference_is_found_to_the_cent_with_its_cause_and_nothing_else(book, tmp_path):
    planted_file = tmp_path / "planted.json"
    comparisons = bill_october(book, tmp_path, "--plant-differences", "--planted-out", planted_file)
    planted = json.loads(planted_file.read_text())
    assert {item["kind"] for item in planted} == set(CAUSES)
    found = {
        (item.account_id, difference.cause.value, difference.difference_minor)
        for item in comparisons
        for difference in item.differences
    }
    assert found == {(item["acct_id"], CAUSES[item["kind"]], -item["difference_minor"]) for item in planted}
    assert all(
        difference.gross_minor == abs(difference.difference_minor)
        for item in comparisons
        for difference in item.differences
    )
