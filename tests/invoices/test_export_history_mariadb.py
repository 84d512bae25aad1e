"""The archive of the old service's real server, from the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from billing_worker.env import BASE_DIR


def run(*arguments: str | Path, database: str, var: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=BASE_DIR,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "billing_worker.settings",
            "STRIPE_WEBHOOK_SECRET": "whsec_tests",
            "DATABASE_URL": "",
            "VAR_DIR": str(var),
            "LEGACY_DATABASE_URL": database,
        },
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.stdout


@pytest.mark.slow
def test_a_server_and_a_file_with_the_same_rows_give_the_same_archive(mariadb_server, tmp_path):
    databases = {
        "mariadb": mariadb_server.create_database("history"),
        "sqlite": f"sqlite:///{tmp_path / 'legacy.sqlite3'}",
    }
    archives = {}
    for name, database in databases.items():
        run(
            *("-m", "sandbox.legacy", "generate", "--database", database, "--accounts", "45"),
            *("--months", "3"),
            database=database,
            var=tmp_path,
        )
        folder = tmp_path / name
        run("manage.py", "export_history", "--output", folder, database=database, var=tmp_path)
        said = run(
            "manage.py", "export_history", "--output", folder, "--verify", database=database, var=tmp_path
        )
        assert said == "3 months verified: the archive is what the database holds\n"
        archives[name] = {path.name: path.read_bytes() for path in folder.glob("*") if path.is_file()}

    assert len(archives["sqlite"]) == 4
    assert archives["mariadb"] == archives["sqlite"]
