from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.db import connections
from django.db.utils import ConnectionHandler, OperationalError

from billing_worker.core.periods import Period
from billing_worker.env import Environment
from billing_worker.legacy.models import LEGACY_MODELS, LegacyAccount
from billing_worker.legacy.router import LegacyIsReadOnly, LegacyRouter
from billing_worker.legacy.selectors import LegacyUnavailable, get_bills, get_customers
from billing_worker.settings.databases import build_databases
from tests.legacy.tables import add_account, add_fee, add_invoice, add_job, add_line, add_tiers

pytestmark = pytest.mark.django_db(databases=["default", "legacy"])
OCTOBER = Period(2026, 10)


def test_customers_come_with_their_rows_in_their_own_types(legacy_tables):
    add_account(1002, name="Bäckerei & Söhne", parent_acct_id=1001)
    add_account(1001)
    add_fee(1001, "139.90")
    add_tiers(1001, "ST", (0, 1000, "0"), (1000, None, "2.505000"))
    add_job(7, 1001, "1250.00")

    first, second = get_customers()

    assert (first.account.acct_id, second.account.name) == (1001, "Bäckerei & Söhne")
    assert first.account.created_at == datetime(2020, 1, 1, 9, 30, tzinfo=UTC)
    assert [fee.sub_rate for fee in first.fees] == [Decimal("139.90")]
    assert [(tier.tier_to, tier.rate) for tier in first.tiers] == [
        (1000, Decimal("0.000000")),
        (None, Decimal("2.505000")),
    ]
    assert [job.amount for job in first.jobs] == [Decimal("1250.00")]
    assert (second.fees, second.tiers, second.jobs) == ((), (), ())


def test_bills_of_a_period_with_lines_drafts_and_duplicates_but_not_void_ones(legacy_tables):
    add_invoice(11, 1001, "499.00", status="draft")
    add_invoice(12, 1001, "10.00")
    add_invoice(13, 1002, "5.00", status="void")
    add_invoice(14, 1003, "5.00", period="2026-09")
    add_line(1, 11, "sub", "499.00")
    add_line(2, 14, "sub", "5.00")

    bills = get_bills(OCTOBER)

    assert [bill.invoice.inv_id for bill in bills] == [11, 12]
    assert [line.amount for line in bills[0].lines] == [Decimal("499.00")]
    assert bills[1].lines == ()
    assert [bill.invoice.inv_id for bill in get_bills(OCTOBER, with_void=True)] == [11, 12, 13]
    assert get_bills(OCTOBER, account_ids=[1002]) == []


def test_an_unreadable_database_is_one_line_that_names_the_setting():
    with pytest.raises(LegacyUnavailable, match=r"LEGACY_DATABASE_URL"):
        get_customers()


def test_the_connection_itself_refuses_to_write():
    with pytest.raises(OperationalError, match="readonly"), connections["legacy"].cursor() as cursor:
        cursor.execute("CREATE TABLE mine (id INTEGER)")


def test_the_router_refuses_writes_and_migrations():
    with pytest.raises(LegacyIsReadOnly, match="LegacyAccount"):
        LegacyAccount.objects.filter(acct_id=1).update(name="x")
    router = LegacyRouter()
    assert router.allow_migrate("legacy", "accounts") is False
    assert router.allow_migrate("default", "legacy") is False
    assert router.allow_migrate("default", "accounts") is None


def test_no_migration_would_ever_touch_the_old_tables():
    assert all(model._meta.managed is False for model in LEGACY_MODELS)
    call_command("makemigrations", "--check", "--dry-run", "accounts", "catalog", verbosity=0)


def test_a_wrong_path_is_an_error_and_makes_no_file(tmp_path, django_db_blocker):
    missing = tmp_path / "a folder" / "legacy.sqlite3"
    missing.parent.mkdir()
    env = Environment.model_validate({"LEGACY_DATABASE_URL": f"sqlite:///{missing}"})
    connection = ConnectionHandler({"default": {}, "legacy": build_databases(env)["legacy"]})["legacy"]
    with django_db_blocker.unblock(), pytest.raises(OperationalError, match="unable to open"):
        connection.ensure_connection()
    assert not missing.exists()

    missing.touch()
    with django_db_blocker.unblock(), closing(connection):
        connection.ensure_connection()
