"""The old database as it is in production: a server, read over a connection that can't write."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing

import pytest
from django.db import OperationalError
from django.db.utils import ConnectionHandler

from billing_worker.env import BASE_DIR, Environment
from billing_worker.legacy.models import LegacyAccount, LegacyPlanSub, LegacyPlanUsage
from billing_worker.settings.databases import build_databases


def test_a_server_is_read_exactly_and_never_written(mariadb_server, django_db_blocker):
    address = mariadb_server.create_database("old_service")
    subprocess.run(
        [sys.executable, "-m", "sandbox.legacy", "generate", "--database", address, "--accounts", "60"],
        cwd=BASE_DIR,
        check=True,
        capture_output=True,
        timeout=300,
    )
    env = Environment.model_validate({"LEGACY_DATABASE_URL": address})
    connection = ConnectionHandler({"default": {}, "legacy": build_databases(env)["legacy"]})["legacy"]
    with django_db_blocker.unblock(), closing(connection), connection.cursor() as cursor:
        for model in (LegacyAccount, LegacyPlanSub, LegacyPlanUsage):
            names = ", ".join(str(field.column) for field in model._meta.concrete_fields)
            cursor.execute(f"SELECT {names} FROM {model._meta.db_table}")
            assert len(cursor.fetchall()) >= 20
        with pytest.raises(OperationalError, match="READ ONLY"):
            cursor.execute("UPDATE account SET name = 'ours'")
        with pytest.raises(OperationalError, match="READ ONLY"):
            cursor.execute("CREATE TABLE ours (id INTEGER)")
