"""The warehouse: `impressions_daily` and `impressions_load_log`, over PostgreSQL's protocol, read only.

Redshift is not PostgreSQL, so only what both know is used: plain statements without server-side parameters, a cursor
declared by hand and fetched by the thousand (all that a single-node cluster gives at once), no `pg_cursors`.
https://docs.aws.amazon.com/redshift/latest/dg/declare.html
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg import ClientCursor, Connection, IsolationLevel

from billing_worker.core.errors import Unavailable
from billing_worker.core.periods import Period, to_utc
from metering.pulling.sources import DayReading, SourceDay, SourceRow

FETCH_ROWS: Final = 1_000
CONNECT_TIMEOUT_SECONDS: Final = 15
STATEMENT_TIMEOUT: Final = timedelta(minutes=5)
_FETCH: Final = f"FETCH FORWARD {FETCH_ROWS} FROM usage_rows"

#: A day with an entry that has no time yet is being loaded again: it is not complete until that is done.
_DAYS: Final = """
    SELECT log.day, log.completed_at, COALESCE(total.row_count, 0), COALESCE(total.impressions, 0)
    FROM (
        SELECT day, MAX(completed_at) AS completed_at FROM impressions_load_log
        WHERE day >= %(start)s AND day < %(end)s
        GROUP BY day HAVING COUNT(*) = COUNT(completed_at)
    ) AS log
    LEFT JOIN (
        SELECT day, COUNT(*) AS row_count, SUM(impressions) AS impressions FROM impressions_daily
        WHERE day >= %(start)s AND day < %(end)s
        GROUP BY day
    ) AS total ON total.day = log.day
    ORDER BY log.day
"""
_ROWS: Final = """
    DECLARE usage_rows CURSOR FOR
    SELECT acct_id, usage_type, impressions FROM impressions_daily WHERE day = %(day)s
    ORDER BY acct_id, usage_type
"""
_FIRST_DAY: Final = "SELECT MIN(day) FROM impressions_load_log WHERE completed_at IS NOT NULL"


class WarehouseUnavailable(Unavailable):
    """The warehouse does not answer, or not in time. Check REDSHIFT_DATABASE_URL and the user's SELECT right."""

    code = "warehouse_unavailable"


class RedshiftSource:
    """One connection, opened when first needed. Close it, or use it in a `with`."""

    name = "redshift"
    is_whole = True

    def __init__(self, url: str, *, statement_timeout: timedelta = STATEMENT_TIMEOUT) -> None:
        self._url = url.replace("redshift://", "postgresql://", 1)
        self._timeout = statement_timeout
        self._connection: Connection[tuple[Any, ...]] | None = None

    def __enter__(self) -> RedshiftSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def list_days(self, period: Period) -> list[SourceDay]:
        """The days of the period that the load log calls complete, in order.

        Raises:
            WarehouseUnavailable: it can't be read.
        """
        with self._reading() as cursor:
            return _read_days(cursor, period.start_date, period.end_date)

    def get_first_day(self) -> date | None:
        """The first day in the load log. Raises WarehouseUnavailable."""
        with self._reading() as cursor:
            found = cursor.execute(_FIRST_DAY).fetchone()
            return found[0] if found else None

    @contextmanager
    def open_day(self, day: date) -> Iterator[DayReading | None]:
        """A day's rows and what the log says of it, in one snapshot. None if the log does not call it complete.

        Raises:
            WarehouseUnavailable: it can't be read; while the rows are read, too.
        """
        with self._reading() as cursor:
            days = _read_days(cursor, day, day + timedelta(days=1))
            yield DayReading(said=days[0], rows=_read_rows(cursor, day)) if days else None

    def describe_restatement(self, said: SourceDay) -> str:
        assert said.completed_at is not None
        return f"restated in the warehouse, loaded {said.completed_at:%Y-%m-%dT%H:%M:%SZ}"

    @contextmanager
    def _reading(self) -> Iterator[ClientCursor[tuple[Any, ...]]]:
        """A read-only transaction that sees one state of the tables."""
        try:
            connection = self._connect()
            with connection.transaction(), ClientCursor(connection) as cursor:
                yield cursor
        except psycopg.Error as error:
            self.close()
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise WarehouseUnavailable(
                f"the warehouse can't be read ({first_line}): check REDSHIFT_DATABASE_URL"
            ) from error

    def _connect(self) -> Connection[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = psycopg.connect(
                self._url,
                autocommit=True,
                prepare_threshold=None,
                # Redshift calls its encoding UNICODE, which no codec of Python's is called.
                client_encoding="utf8",
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                application_name="billing-worker",
                cursor_factory=ClientCursor,
            )
            self._connection.isolation_level = IsolationLevel.REPEATABLE_READ
            self._connection.read_only = True
            milliseconds = int(self._timeout.total_seconds() * 1000)
            self._connection.execute(f"SET statement_timeout TO {milliseconds}".encode())
        return self._connection


def _read_days(cursor: ClientCursor[tuple[Any, ...]], start: date, end: date) -> list[SourceDay]:
    return [
        _make_day(day, completed_at, int(rows), int(impressions))
        for day, completed_at, rows, impressions in cursor.execute(_DAYS, {"start": start, "end": end})
    ]


def _make_day(day: date, completed_at: datetime, rows: int, impressions: int) -> SourceDay:
    """The log's times are naive UTC. Count and sum catch a restatement that the log was not told of."""
    completed_at = to_utc(completed_at if completed_at.tzinfo else completed_at.replace(tzinfo=UTC))
    return SourceDay(
        day=day,
        rows=rows,
        fingerprint=f"{completed_at.isoformat()} {rows} {impressions}",
        completed_at=completed_at,
    )


def _read_rows(cursor: ClientCursor[tuple[Any, ...]], day: date) -> Iterator[SourceRow]:
    cursor.execute(_ROWS, {"day": day})
    while rows := cursor.execute(_FETCH).fetchall():
        for account_id, usage_type, impressions in rows:
            yield SourceRow(account_id, usage_type, impressions)
