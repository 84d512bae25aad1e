"""The warehouse's two tables on a private PostgreSQL, written to by tests only."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest

from tests.support.postgresql import PostgreSQL

#: No primary keys: Redshift declares them and holds none.
_TABLES = """
    CREATE TABLE impressions_daily (acct_id INTEGER, day DATE, usage_type CHAR(2), impressions BIGINT);
    CREATE TABLE impressions_load_log (day DATE, completed_at TIMESTAMP);
"""


class Warehouse:
    """Rows of `impressions_daily`, and what the load log says of days."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection: psycopg.Connection[tuple[Any, ...]] = psycopg.connect(url, autocommit=True)

    def empty(self) -> None:
        self.connection.execute("DROP TABLE IF EXISTS impressions_daily, impressions_load_log")
        self.connection.execute(_TABLES)

    def add(self, day: str, *rows: tuple[int, str, int]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO impressions_daily VALUES (%s, %s, %s, %s)",
                [(account, date.fromisoformat(day), kind, quantity) for account, kind, quantity in rows],
            )

    def change(self, day: str, account_id: int, usage_type: str, quantity: int) -> None:
        self.connection.execute(
            "UPDATE impressions_daily SET impressions = %s WHERE day = %s AND acct_id = %s AND usage_type = %s",
            (quantity, day, account_id, usage_type),
        )

    def remove(self, day: str, account_id: int | None = None) -> None:
        self.connection.execute(
            "DELETE FROM impressions_daily WHERE day = %s AND acct_id = COALESCE(%s, acct_id)",
            (day, account_id),
        )

    def complete(self, *days: str, at: datetime = datetime(2026, 11, 1, 2, tzinfo=UTC)) -> None:
        for day in days:
            self.connection.execute("DELETE FROM impressions_load_log WHERE day = %s", (day,))
            self.connection.execute(
                "INSERT INTO impressions_load_log VALUES (%s, %s)", (day, at.replace(tzinfo=None))
            )

    def begin_load(self, day: str) -> None:
        """An entry without a time: the day is being loaded (again)."""
        self.connection.execute("INSERT INTO impressions_load_log VALUES (%s, NULL)", (day,))


@pytest.fixture
def warehouse(postgresql_server: PostgreSQL) -> Iterator[Warehouse]:
    """Empty tables."""
    made = Warehouse(postgresql_server.url())
    made.empty()
    yield made
    made.connection.close()
