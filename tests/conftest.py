"""What every test gets: the private servers' fixtures, and the marks that follow from what a test asks for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection
from pytest_django.plugin import DjangoDbBlocker

from tests.settings import TEST_VAR_DIR

pytest_plugins = ("tests.support.fixtures",)

#: Fixtures that reach the default database.
DATABASE_FIXTURES = {
    *("db", "transactional_db", "django_db_reset_sequences", "django_db_serialized_rollback"),
    *("live_server", "admin_user", "admin_client"),
}
#: Asking for the server marks the test.
MARKS_BY_FIXTURE = {
    "mariadb_server": "mariadb",
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        for fixture, mark in MARKS_BY_FIXTURE.items():
            if fixture in fixtures:
                item.add_marker(mark)
        reaches_database = item.get_closest_marker("django_db") or fixtures & DATABASE_FIXTURES
        if reaches_database and not item.get_closest_marker("sqlite_only"):
            item.add_marker("database")


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


def pytest_unconfigure() -> None:
    # xdist's workers leave without running what atexit holds.
    shutil.rmtree(TEST_VAR_DIR, ignore_errors=True)
