"""The tables come out the same wherever they are laid, and the tests' settings do not listen to the shell."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from tests.support.mariadb import MariaDB
from tests.support.processes import PYTHON, ROOT


@pytest.mark.django_db
def test_tables_are_there_on_the_database_under_test() -> None:
    tables = set(connection.introspection.table_names())
    assert {"django_migrations", "auth_user", "djstripe_invoice"} <= tables


@pytest.mark.django_db
def test_the_engine_is_set_up_as_production_is() -> None:
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT 'a' = 'A', @@collation_database, @@tx_isolation, @@foreign_key_checks")
            assert cursor.fetchone() == (0, "utf8mb4_bin", "READ-COMMITTED", 1)
    else:
        assert connection.vendor == "sqlite"
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode")
            assert cursor.fetchone() == ("wal",)


def test_settings_of_the_shell_do_not_reach_the_tests(tmp_path: Path) -> None:
    shell = {
        **os.environ,
        "DATABASE_URL": "mysql://production.example.com/billing",
        "STRIPE_SECRET_KEY": "sk_live_from_the_shell",
        "STRIPE_API_BASE": "https://api.stripe.com",
        "TEST_DATABASE_URL": "",
    }
    script = (
        "import tests.settings as s, os;"
        "print(s.DATABASES['default']['ENGINE'], s.STRIPE_LIVE_MODE, s.ENV.STRIPE_API_BASE, os.environ['VAR_DIR'])"
    )
    done = subprocess.run(
        [PYTHON, "-c", script], cwd=ROOT, env=shell, capture_output=True, text=True, check=True
    )

    engine, live, base, var = done.stdout.split()
    assert (engine, live, base) == ("django.db.backends.sqlite3", "False", "http://127.0.0.1:9")
    assert not Path(var).exists(), "the folder of the tests stays behind"
    assert Path(settings.ENV.VAR_DIR).is_dir()


@pytest.mark.slow
@pytest.mark.foreign_migrations
@pytest.mark.timeout(1500)
def test_every_real_migration_runs_on_mariadb(mariadb_server: MariaDB, tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if name != "TEST_DATABASE_URL"},
        "DJANGO_SETTINGS_MODULE": "billing_worker.settings",
        "DATABASE_URL": mariadb_server.create_database("migrations"),
        "VAR_DIR": str(tmp_path),
        "STRIPE_WEBHOOK_SECRET": "whsec_tests",
    }

    def manage(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PYTHON, "manage.py", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    migrated = manage("migrate", "--no-input", "--verbosity", "0")
    assert migrated.returncode == 0, migrated.stderr
    left = manage("migrate", "--check")
    assert left.returncode == 0, left.stdout
    checked = manage("check", "--database", "default", "--fail-level", "ERROR")
    assert checked.returncode == 0, checked.stderr
