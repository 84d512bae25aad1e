"""The old database behind one small interface: a SQLite file, or MySQL/MariaDB through MySQLdb.

Values go in and come out as the schema declares them (int, str, Decimal, date, naive UTC datetime), never as float.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

from sandbox.legacy.errors import LegacyError
from sandbox.legacy.schema import TABLES, Column, Dialect, Table, create_statements

Row = dict[str, Any]


class Database:
    """An open connection; statements use `?` for parameters whatever the dialect."""

    def __init__(self, connection: Any, dialect: Dialect) -> None:
        self.connection = connection
        self.dialect: Dialect = dialect

    def execute(self, sql: str, params: Sequence[object] = ()) -> int:
        """Run a statement and return the number of rows it changed."""
        cursor = self.connection.cursor()
        cursor.execute(self._dialect_sql(sql), tuple(self._encode(value) for value in params))
        return int(cursor.rowcount)

    def insert(self, table: Table, rows: Iterable[Mapping[str, object]]) -> int:
        """Insert rows that hold every column of the table; returns how many."""
        names = table.column_names()
        values = [tuple(self._encode(row[name]) for name in names) for row in rows]
        if values:
            marks = ", ".join("?" for _ in names)
            sql = self._dialect_sql(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})")
            self.connection.cursor().executemany(sql, values)
        return len(values)

    def rows(self, table: Table, where: str = "", params: Sequence[object] = ()) -> list[Row]:
        """The table's rows that match, in the order of its primary key, with typed values."""
        sql = f"SELECT {', '.join(table.column_names())} FROM {table.name}"
        sql += f" WHERE {where}" if where else ""
        sql += f" ORDER BY {', '.join(table.primary_key)}"
        return [
            {column.name: decode(column, value) for column, value in zip(table.columns, record, strict=True)}
            for record in self.query(sql, params)
        ]

    def query(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The records of a SELECT as the driver gives them."""
        cursor = self.connection.cursor()
        cursor.execute(self._dialect_sql(sql), tuple(self._encode(value) for value in params))
        return list(cursor.fetchall())

    def highest(self, table: Table) -> int:
        """The highest value of a table's single-column key, 0 if the table is empty."""
        cursor = self.connection.cursor()
        cursor.execute(f"SELECT COALESCE(MAX({table.primary_key[0]}), 0) FROM {table.name}")
        return int(cursor.fetchone()[0])

    def has_tables(self) -> bool:
        """Whether any of the old service's tables exists."""
        return bool(self._existing_tables())

    def create_tables(self) -> None:
        """Create every table and index; they must not exist yet."""
        for table in TABLES:
            for statement in create_statements(table, self.dialect):
                self.execute(statement)

    def drop_tables(self) -> None:
        """Drop the old service's tables, and no others."""
        existing = self._existing_tables()
        for table in reversed(TABLES):
            if table.name in existing:
                self.execute(f"DROP TABLE {table.name}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is written, or nothing of it."""
        self.execute("BEGIN IMMEDIATE" if self.dialect == "sqlite" else "START TRANSACTION")
        try:
            yield
        except BaseException:
            self.connection.rollback()
            raise
        self.connection.commit()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _existing_tables(self) -> set[str]:
        cursor = self.connection.cursor()
        if self.dialect == "sqlite":
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        else:
            cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
        return {record[0] for record in cursor.fetchall()} & {table.name for table in TABLES}

    def _dialect_sql(self, sql: str) -> str:
        return sql if self.dialect == "sqlite" else sql.replace("%", "%%").replace("?", "%s")

    def _encode(self, value: object) -> object:
        if self.dialect == "mysql":
            return value
        if isinstance(value, Decimal):
            return format(value, "f")
        if isinstance(value, datetime):
            return value.isoformat(sep=" ", timespec="seconds")
        return value.isoformat() if isinstance(value, date) else value


def decode(column: Column, value: object) -> object:
    """A stored value as the column declares it; SQLite keeps decimals as REAL, exact to 15 digits."""
    if value is None:
        return None
    places = column.decimal_places
    if places is not None:
        return Decimal(str(value)).quantize(Decimal(1).scaleb(-places))
    if column.sql_type == "DATE" and isinstance(value, str):
        return date.fromisoformat(value)
    if column.sql_type == "DATETIME" and isinstance(value, str):
        return datetime.fromisoformat(value)
    return value


def driver_errors() -> tuple[type[Exception], ...]:
    """What the drivers in use and the files below them raise when they fail."""
    mysql = sys.modules.get("MySQLdb")
    return (sqlite3.Error, OSError) if mysql is None else (sqlite3.Error, OSError, mysql.Error)


def sqlite_path(url: str) -> Path | None:
    """The file of a `sqlite:///relative` or `sqlite:////absolute` URL, None for another kind of database."""
    if not url.startswith("sqlite:"):
        return None
    path = unquote(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else ""
    if not path or path == ":memory:":
        raise LegacyError(
            f"{url!r} names no file: write sqlite:///var/legacy.sqlite3, or four slashes for /absolute"
        )
    return Path(path)


@contextmanager
def open_database(url: str) -> Iterator[Database]:
    """Open the existing database of the URL.

    Raises: LegacyError if the URL is of no known kind, the file is missing or the server does not answer.
    """
    path = sqlite_path(url)
    with _closing(_open_mysql(url) if path is None else _open_sqlite(path, create=False)) as database:
        yield database


@contextmanager
def create_file(path: Path) -> Iterator[Database]:
    """Open a SQLite file that may not exist yet. Raises: LegacyError if it can't be written."""
    with _closing(_open_sqlite(path, create=True)) as database:
        yield database


@contextmanager
def _closing(database: Database) -> Iterator[Database]:
    try:
        yield database
    finally:
        database.close()


def _open_sqlite(path: Path, *, create: bool) -> Database:
    if not create and not path.is_file():
        raise LegacyError(f"{path} does not exist: run `python -m sandbox.legacy generate` first")
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("SELECT name FROM sqlite_master").fetchall()
    except (sqlite3.Error, OSError) as error:
        raise LegacyError(f"can't open {path} as a SQLite database: {error}") from error
    return Database(connection, "sqlite")


def _open_mysql(url: str) -> Database:
    parts = urlsplit(url)
    if parts.scheme not in ("mysql", "mariadb") or not parts.path.strip("/"):
        raise LegacyError(
            f"database URL of scheme {parts.scheme!r} not understood: write sqlite:///path or mysql://user@host/name"
        )
    try:
        import MySQLdb
    except ImportError as error:
        raise LegacyError("mysqlclient is not installed: use a sqlite:/// URL, or install it") from error
    options: dict[str, Any] = {"db": unquote(parts.path.strip("/")), "charset": "utf8mb4", "autocommit": True}
    options.update({key: unquote(value) for key, value in _credentials(url).items()})
    # The socket is given as a percent-encoded host or as ?unix_socket=; `hostname` would fold its case.
    host = unquote(parts.netloc.rpartition("@")[2])
    socket = parse_qs(parts.query).get("unix_socket", [host] if host.startswith("/") else [])
    if socket:
        options["unix_socket"] = socket[0]
    elif parts.hostname:
        options.update(host=parts.hostname, port=parts.port or 3306)
    try:
        connection = MySQLdb.connect(**options)
    except MySQLdb.Error as error:
        raise LegacyError(f"can't reach the database {options['db']!r}: {error.args[-1]}") from error
    return Database(cast(Any, connection), "mysql")


def _credentials(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    found = {"user": parts.username, "password": parts.password}
    return {key: value for key, value in found.items() if value is not None}
