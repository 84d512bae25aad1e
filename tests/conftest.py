"""What every test gets: the private servers' fixtures, and the marks that follow from what a test asks for."""

from __future__ import annotations

import contextlib
import pkgutil
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import djstripe.migrations
import pytest
import weasyprint.text.fonts
from django.db import connection
from pytest_django.plugin import DjangoDbBlocker

from tests.settings import TEST_VAR_DIR

pytest_plugins = ("tests.support.fixtures",)

# Fonts are copied into a folder that WeasyPrint removes in the end; xdist's workers leave before that.
weasyprint.text.fonts.mkdtemp = partial(tempfile.mkdtemp, dir=TEST_VAR_DIR)

#: The tables as the tests' own database has them before the first test (SQLite only).
LAID_DATABASE = Path(TEST_VAR_DIR) / "laid.sqlite3"
#: Fixtures that reach the default database.
DATABASE_FIXTURES = {
    *("db", "transactional_db", "django_db_reset_sequences", "django_db_serialized_rollback"),
    *("live_server", "admin_user", "admin_client"),
}
#: Asking for the server marks the test.
MARKS_BY_FIXTURE = {
    "mariadb_server": "mariadb",
    "lay_database": "mariadb",
    "redis_server": "redis",
    "postgresql_server": "postgresql",
    "s3_server": "s3",
    "browser": "browser",
    "make_installation": "journey",
    "screenshot_folder": "screenshots",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--screenshots", metavar="FOLDER", help="keep the README's pictures here (make screenshots)"
    )


@pytest.fixture
def screenshot_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a test marked `screenshots` puts its pictures: thrown away unless `--screenshots` names a folder."""
    named = request.config.getoption("--screenshots")
    folder = Path(named) if named else tmp_path / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


#: Files with tests of the first kind start first, so that no worker is left with a long one when the others are done.
FIRST_TO_START = ("journey", "slow", "mariadb", "browser", "redis", "stripe_cli")


def get_start_rank(marks: set[str]) -> int:
    return next((rank for rank, mark in enumerate(FIRST_TO_START) if mark in marks), len(FIRST_TO_START))


def start_long_files_first(items: list[pytest.Item]) -> None:
    """Order files by the slowest kind of test in them; within a file nothing moves."""
    ranks: dict[Path, int] = {}
    for item in items:
        rank = get_start_rank({mark.name for mark in item.iter_markers()})
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        for fixture, mark in MARKS_BY_FIXTURE.items():
            if fixture in fixtures:
                item.add_marker(mark)
        reaches_database = item.get_closest_marker("django_db") or fixtures & DATABASE_FIXTURES
        if reaches_database and not item.get_closest_marker("sqlite_only"):
            item.add_marker("database")
    start_long_files_first(items)


@pytest.fixture(scope="session")
def tables_in_any_order(django_db_modify_db_settings: None) -> Callable[[], None]:
    """Let tables refer to tables that come later, until the returned function is called.

    dj-stripe's are laid first, as they skip their migrations, and MySQL would miss the user's table.
    """
    options = connection.settings_dict["OPTIONS"]
    usual = options.get("init_command")
    if connection.vendor == "mysql":
        options["init_command"] = f"{usual}, foreign_key_checks=0"

    def restore() -> None:
        if connection.vendor == "mysql":
            options["init_command"] = usual
            connection.close()

    return restore


@pytest.fixture(scope="session")
def django_db_setup(
    tables_in_any_order: Callable[[], None], django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> None:
    with django_db_blocker.unblock():
        tables_in_any_order()
        # Without a test that asks for the database, pytest-django has made none.
        if connection.vendor == "sqlite" and "django_migrations" in connection.introspection.table_names():
            with connection.cursor() as cursor:
                cursor.execute("VACUUM INTO %s", [str(LAID_DATABASE)])


@pytest.fixture(scope="session")
def laid_database(django_db_setup: None) -> Path | None:
    """An SQLite file with our tables as an installation has them after `migrate`; None where there is none."""
    if not LAID_DATABASE.exists():
        return None
    names = [name for _, name, _ in pkgutil.iter_modules(djstripe.migrations.__path__)]
    with contextlib.closing(sqlite3.connect(LAID_DATABASE)) as database, database:
        database.executemany(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('djstripe', ?, CURRENT_TIMESTAMP)",
            [(name,) for name in names],
        )
    return LAID_DATABASE


def pytest_unconfigure() -> None:
    # xdist's workers leave without running what atexit holds.
    shutil.rmtree(TEST_VAR_DIR, ignore_errors=True)
