"""What every test gets: the private servers' fixtures, and the marks that follow from what a test asks for."""

from __future__ import annotations

import shutil

import pytest

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
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        for fixture, mark in MARKS_BY_FIXTURE.items():
            if fixture in fixtures:
                item.add_marker(mark)
        reaches_database = item.get_closest_marker("django_db") or fixtures & DATABASE_FIXTURES
        if reaches_database and not item.get_closest_marker("sqlite_only"):
            item.add_marker("database")


def pytest_unconfigure() -> None:
    # xdist's workers leave without running what atexit holds.
    shutil.rmtree(TEST_VAR_DIR, ignore_errors=True)
