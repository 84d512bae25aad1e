"""The old service's tables and the metering source's two, described once for SQLite and MySQL.

Amounts are decimals of the account's currency, times are naive UTC, day ranges are half-open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dialect = Literal["sqlite", "mysql"]


@dataclass(frozen=True)
class Column:
    """A column; `sql_type` is written so that both databases understand it."""

    name: str
    sql_type: str
    null: bool = False
    choices: tuple[str, ...] = ()
    references: str = ""

    @property
    def decimal_places(self) -> int | None:
        """Places after the point of a DECIMAL, None for other types."""
        if not self.sql_type.startswith("DECIMAL("):
            return None
        return int(self.sql_type.rstrip(")").split(",")[1])


@dataclass(frozen=True)
class Table:
    """A table with its primary key and its secondary indexes, each a tuple of column names."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...] = ()

    def column_names(self) -> list[str]:
        """The columns' names in order of declaration."""
        return [column.name for column in self.columns]


ACCOUNT = Table(
    "account",
    (
        Column("acct_id", "INTEGER"),
        Column("name", "VARCHAR(200)"),
        Column("status", "VARCHAR(16)", choices=("active", "suspended", "closed")),
        Column("billing_email", "VARCHAR(254)"),
        Column("billing_cc", "VARCHAR(500)", null=True),
        Column("address_line1", "VARCHAR(200)"),
        Column("address_line2", "VARCHAR(200)", null=True),
        Column("address_city", "VARCHAR(100)"),
        Column("address_state", "VARCHAR(100)", null=True),
        Column("address_postal_code", "VARCHAR(20)"),
        Column("address_country", "CHAR(2)"),
        Column("currency", "CHAR(3)"),
        Column("parent_acct_id", "INTEGER", null=True, references="account(acct_id)"),
        Column("stripe_customer_id", "VARCHAR(64)", null=True),
        Column("created_at", "DATETIME"),
    ),
    ("acct_id",),
)
PLAN_SUB = Table(
    "account_plan_sub",
    (
        Column("id", "INTEGER"),
        Column("acct_id", "INTEGER", references="account(acct_id)"),
        Column("plan_name", "VARCHAR(100)"),
        Column("sub_rate", "DECIMAL(12,2)"),
        Column("effective_from", "DATE"),
        Column("effective_to", "DATE", null=True),
    ),
    ("id",),
    (("acct_id",),),
)
PLAN_USAGE = Table(
    "account_plan_usage",
    (
        Column("id", "INTEGER"),
        Column("acct_id", "INTEGER", references="account(acct_id)"),
        Column("usage_type", "CHAR(2)", choices=("ST", "RM", "CV")),
        Column("tier_from", "BIGINT"),
        Column("tier_to", "BIGINT", null=True),
        Column("rate", "DECIMAL(12,6)"),
        Column("effective_from", "DATE"),
        Column("effective_to", "DATE", null=True),
    ),
    ("id",),
    (("acct_id", "usage_type"),),
)
INVOICE = Table(
    "billing_invoice",
    (
        Column("inv_id", "BIGINT"),
        Column("inv_uuid", "CHAR(36)"),
        Column("acct_id", "INTEGER", references="account(acct_id)"),
        Column("period", "CHAR(7)"),
        Column("invoice_no", "VARCHAR(40)"),
        Column("status", "VARCHAR(16)", choices=("draft", "sent", "paid", "void")),
        Column("currency", "CHAR(3)"),
        Column("subtotal", "DECIMAL(12,2)"),
        Column("tax", "DECIMAL(12,2)"),
        Column("total", "DECIMAL(12,2)"),
        Column("issued_at", "DATETIME"),
        Column("paid_at", "DATETIME", null=True),
        Column("stripe_invoice_id", "VARCHAR(64)", null=True),
        Column("pdf_url", "VARCHAR(500)", null=True),
    ),
    ("inv_id",),
    (("acct_id", "period"), ("period",)),
)
INVOICE_LINE = Table(
    "billing_invoice_line",
    (
        Column("id", "BIGINT"),
        Column("inv_id", "BIGINT", references="billing_invoice(inv_id)"),
        Column("kind", "VARCHAR(16)", choices=("sub", "ST", "RM", "CV", "managed", "custom")),
        Column("description", "VARCHAR(500)"),
        Column("quantity", "BIGINT"),
        Column("unit_rate", "DECIMAL(12,6)"),
        Column("amount", "DECIMAL(12,2)"),
    ),
    ("id",),
    (("inv_id",),),
)
MANAGED_JOB = Table(
    "managed_service_job",
    (
        Column("job_id", "INTEGER"),
        Column("acct_id", "INTEGER", references="account(acct_id)"),
        Column("title", "VARCHAR(200)"),
        Column("amount", "DECIMAL(12,2)"),
        Column("status", "VARCHAR(16)", choices=("open", "done", "billed")),
        Column("completed_at", "DATETIME", null=True),
        Column("billed_inv_id", "BIGINT", null=True, references="billing_invoice(inv_id)"),
    ),
    ("job_id",),
    (("acct_id",),),
)
IMPRESSIONS = Table(
    "impressions_daily",
    (
        Column("acct_id", "INTEGER"),
        Column("day", "DATE"),
        Column("usage_type", "CHAR(2)", choices=("ST", "RM", "CV")),
        Column("impressions", "BIGINT"),
    ),
    ("acct_id", "day", "usage_type"),
    (("day",),),
)
LOAD_LOG = Table(
    "impressions_load_log",
    (Column("day", "DATE"), Column("completed_at", "DATETIME")),
    ("day",),
)

# In order of creation: a table comes after those it refers to.
TABLES = (ACCOUNT, PLAN_SUB, PLAN_USAGE, INVOICE, INVOICE_LINE, MANAGED_JOB, IMPRESSIONS, LOAD_LOG)


def create_statements(table: Table, dialect: Dialect) -> list[str]:
    """The statements that create the table and its indexes."""
    parts = [_column_sql(column) for column in table.columns]
    parts.append(f"PRIMARY KEY ({', '.join(table.primary_key)})")
    parts += [
        f"FOREIGN KEY ({column.name}) REFERENCES {column.references}"
        for column in table.columns
        if column.references
    ]
    suffix = " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin" if dialect == "mysql" else ""
    statements = [f"CREATE TABLE {table.name} (\n  " + ",\n  ".join(parts) + f"\n){suffix}"]
    for columns in table.indexes:
        name = f"ix_{table.name}_{'_'.join(columns)}"
        statements.append(f"CREATE INDEX {name} ON {table.name} ({', '.join(columns)})")
    return statements


def _column_sql(column: Column) -> str:
    sql = f"{column.name} {column.sql_type} {'NULL' if column.null else 'NOT NULL'}"
    if column.choices:
        sql += f" CHECK ({column.name} IN ({', '.join(repr(choice) for choice in column.choices)}))"
    return sql
