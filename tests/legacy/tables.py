"""The old service's tables in the tests' legacy database, and rows for them.

Use with `pytest.mark.django_db(databases=["default", "legacy"])` and the `legacy_tables` fixture (or, elsewhere,
`with legacy_tables_open():`). Tables and rows vanish with the test's transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from django.db import connections

from billing_worker.legacy.models import (
    LEGACY_MODELS,
    LegacyAccount,
    LegacyInvoice,
    LegacyInvoiceLine,
    LegacyManagedJob,
    LegacyPlanSub,
    LegacyPlanUsage,
)


@contextmanager
def legacy_tables_open() -> Iterator[None]:
    """Create the old service's tables and let the test write to them, which no code of ours can."""
    connection = connections["legacy"]
    editor = connection.schema_editor()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only=OFF")
        for model in LEGACY_MODELS:
            cursor.execute(editor.table_sql(model)[0])
    yield
    with connection.cursor() as cursor:
        for model in LEGACY_MODELS:
            cursor.execute(f"DROP TABLE {model._meta.db_table}")
        cursor.execute("PRAGMA query_only=ON")


def add_account(acct_id: int, **values: Any) -> LegacyAccount:
    """An active account in dollars since 2020."""
    row = LegacyAccount(
        **{
            "acct_id": acct_id,
            "name": f"Example {acct_id} Ltd",
            "status": "active",
            "billing_email": f"billing-{acct_id}@example.com",
            "address_line1": "1 Example Street",
            "address_city": "Springfield",
            "address_postal_code": "12345",
            "address_country": "US",
            "currency": "USD",
            "created_at": datetime(2020, 1, 1, 9, 30, tzinfo=UTC),
            **values,
        }
    )
    row.save(using="legacy", force_insert=True)
    return row


def add_fee(
    acct_id: int, rate: str, start: date = date(2020, 1, 1), end: date | None = None
) -> LegacyPlanSub:
    """A flat fee in dollars for `[start, end)`."""
    row = LegacyPlanSub(
        id=LegacyPlanSub.objects.using("legacy").count() + 1,
        acct_id=acct_id,
        plan_name="Essential",
        sub_rate=Decimal(rate),
        effective_from=start,
        effective_to=end,
    )
    row.save(using="legacy", force_insert=True)
    return row


def add_tiers(
    acct_id: int,
    usage_type: str,
    *steps: tuple[int, int | None, str],
    start: date = date(2020, 1, 1),
    end: date | None = None,
) -> list[LegacyPlanUsage]:
    """Tiers as `(tier_from, tier_to, dollars per 1,000)` for `[start, end)`."""
    rows = []
    for lower, upper, rate in steps:
        row = LegacyPlanUsage(
            id=LegacyPlanUsage.objects.using("legacy").count() + 1,
            acct_id=acct_id,
            usage_type=usage_type,
            tier_from=lower,
            tier_to=upper,
            rate=Decimal(rate),
            effective_from=start,
            effective_to=end,
        )
        row.save(using="legacy", force_insert=True)
        rows.append(row)
    return rows


def add_job(job_id: int, acct_id: int, amount: str, **values: Any) -> LegacyManagedJob:
    """A job that was done on 2026-10-12."""
    row = LegacyManagedJob(
        **{
            "job_id": job_id,
            "acct_id": acct_id,
            "title": "Landing page",
            "amount": Decimal(amount),
            "status": "done",
            "completed_at": datetime(2026, 10, 12, 15, 30, tzinfo=UTC),
            **values,
        }
    )
    row.save(using="legacy", force_insert=True)
    return row


def add_invoice(inv_id: int, acct_id: int, total: str, **values: Any) -> LegacyInvoice:
    """A sent invoice for 2026-10."""
    row = LegacyInvoice(
        **{
            "inv_id": inv_id,
            "inv_uuid": f"00000000-0000-4000-8000-{inv_id:012d}",
            "acct_id": acct_id,
            "period": "2026-10",
            "invoice_no": f"L-{inv_id}",
            "status": "sent",
            "currency": "USD",
            "subtotal": Decimal(total),
            "tax": Decimal(0),
            "total": Decimal(total),
            "issued_at": datetime(2026, 11, 1, 3, tzinfo=UTC),
            **values,
        }
    )
    row.save(using="legacy", force_insert=True)
    return row


def add_line(line_id: int, inv_id: int, kind: str, amount: str, quantity: int = 1) -> LegacyInvoiceLine:
    row = LegacyInvoiceLine(
        id=line_id,
        inv_id=inv_id,
        kind=kind,
        description=kind,
        quantity=quantity,
        unit_rate=Decimal(amount),
        amount=Decimal(amount),
    )
    row.save(using="legacy", force_insert=True)
    return row
