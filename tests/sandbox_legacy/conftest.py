"""One generated database for the session, copied for each test that writes to it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.legacy.database import Database, open_database
from sandbox.legacy.generate import generate
from sandbox.legacy.months import Month

PERIOD = Month(2026, 10)
SEED = 20261001


@pytest.fixture(scope="session")
def generated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default database: 60 accounts, 13 past months, October 2026 about to be billed. Read only."""
    path = tmp_path_factory.mktemp("legacy") / "legacy.sqlite3"
    generate(f"sqlite:///{path}", period=PERIOD, seed=SEED, accounts=60, months=13)
    return path


@pytest.fixture
def legacy_url(generated_file: Path, tmp_path: Path) -> str:
    """The address of a copy of the default database."""
    shutil.copy(generated_file, tmp_path / "legacy.sqlite3")
    return f"sqlite:///{tmp_path / 'legacy.sqlite3'}"


@pytest.fixture
def legacy(legacy_url: str) -> Iterator[Database]:
    """A copy of the default database, open."""
    with open_database(legacy_url) as database:
        yield database
