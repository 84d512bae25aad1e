"""Our rules against the old service's own: a generated book of accounts, one month, to the cent.

The stand-in for the old service is an independent program; what it bills for the month must be what we expect.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from django.db import connections

from billing_worker.accounts.expected import compute_expected_ledger
from billing_worker.accounts.models import Account
from billing_worker.accounts.services import import_accounts
from billing_worker.core.money import to_minor
from billing_worker.core.periods import Period
from billing_worker.core.rating import UsageType
from billing_worker.env import BASE_DIR
from billing_worker.legacy.models import LEGACY_MODELS
from billing_worker.legacy.selectors import get_bills, get_customers
from tests.factories import NOW

pytestmark = pytest.mark.django_db(databases=["default", "legacy"])
OCTOBER = Period(2026, 10)


def run_old_service(database: Path, command: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "sandbox.legacy", command, "--database", f"sqlite:///{database}", *arguments],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def copy_tables(database: Path) -> None:
    source = sqlite3.connect(database)
    with connections["legacy"].cursor() as cursor:
        for model in LEGACY_MODELS:
            names = ", ".join(str(field.column) for field in model._meta.concrete_fields)
            marks = ", ".join("%s" for _ in model._meta.concrete_fields)
            rows = source.execute(f"SELECT {names} FROM {model._meta.db_table}").fetchall()
            cursor.executemany(f"INSERT INTO {model._meta.db_table} ({names}) VALUES ({marks})", rows)
    source.close()


def test_a_month_of_sixty_accounts_comes_out_the_same(legacy_tables, tmp_path):
    database = tmp_path / "legacy.sqlite3"
    run_old_service(database, "generate", "--period", "2026-10")
    lines = run_old_service(database, "usage", "--period", "2026-10").splitlines()
    copy_tables(database)
    report = import_accounts(customers=get_customers(), actor="test", now=NOW)
    run_old_service(database, "run-month", "--period", "2026-10")
    with connections["legacy"].cursor() as cursor:
        for model in LEGACY_MODELS:
            cursor.execute(f"DELETE FROM {model._meta.db_table}")
    copy_tables(database)
    usage: defaultdict[int, Counter[UsageType]] = defaultdict(Counter)
    for record in map(json.loads, lines):
        usage[record["account_id"]][record["usage_type"]] += record["quantity"]

    ledger = compute_expected_ledger(OCTOBER, usage=usage)

    assert (len(report.created), report.problems) == (60, [])
    currencies = dict(Account.objects.values_list("pk", "currency"))
    ours = {
        payer: Counter((line.kind, line.quantity, line.amount_minor) for line in lines)
        for payer, lines in ledger.items()
        if lines
    }
    theirs = {
        bill.invoice.acct_id: Counter(
            (line.kind, line.quantity, to_minor(line.amount, currencies[bill.invoice.acct_id]))
            for line in bill.lines
        )
        for bill in get_bills(OCTOBER)
    }
    assert len(theirs) > 50
    assert ours == theirs
