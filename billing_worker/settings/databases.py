"""Our database, the legacy one, and how each engine is set up to be safe with several writers."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import dj_database_url

from billing_worker.env import Environment

#: Take the write lock at BEGIN, so that two writers queue instead of failing in the middle of a transaction.
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 30,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
}
#: READ COMMITTED keeps gap locks away; strict mode turns truncation into an error.
MYSQL_OPTIONS = {
    "charset": "utf8mb4",
    "collation": "utf8mb4_bin",
    "isolation_level": "read committed",
    "init_command": (
        "SET sql_mode='STRICT_TRANS_TABLES,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO', innodb_lock_wait_timeout=20"
    ),
}
#: The old database is someone else's: our connections to it can't write, whatever the user's rights are.
LEGACY_SQLITE_OPTIONS = {"timeout": 30, "init_command": "PRAGMA query_only=ON;"}
LEGACY_MYSQL_OPTIONS = {
    "charset": "utf8mb4",
    "isolation_level": "read committed",
    "init_command": "SET SESSION TRANSACTION READ ONLY",
}


def build_databases(env: Environment) -> dict[str, dict[str, Any]]:
    ours = _build_database(env.database_url, sqlite=SQLITE_OPTIONS, mysql=MYSQL_OPTIONS)
    theirs = _build_database(
        env.legacy_database_url, sqlite=LEGACY_SQLITE_OPTIONS, mysql=LEGACY_MYSQL_OPTIONS
    )
    if theirs["ENGINE"].endswith("sqlite3"):
        # Opened by SQLite itself for reading: a wrong path is an error, not a new empty file.
        theirs["NAME"] = f"file:{quote(str(theirs['NAME']))}?mode=ro"
    return {"default": ours, "legacy": {**theirs, "TEST": {"MIGRATE": False}}}


def build_migration_modules(env: Environment) -> dict[str, None]:
    """dj-stripe's mirror is rebuilt, not migrated, on SQLite: its 40 s of migrations buy nothing there."""
    return {"djstripe": None} if env.database_url.startswith("sqlite") else {}


def _build_database(url: str, *, sqlite: dict[str, Any], mysql: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=60, conn_health_checks=True))
    options = sqlite if config["ENGINE"].endswith("sqlite3") else mysql
    config["OPTIONS"] = {**options, **config.get("OPTIONS", {})}
    return config
