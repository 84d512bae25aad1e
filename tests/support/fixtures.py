"""Fixtures that start the private servers, lazily and once for each test process.

With xdist every worker has its own: MariaDB takes half a second and Redis a tenth, so sharing would not pay.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import open_chromium
from tests.support.installation import Installation
from tests.support.mariadb import MariaDB, find_fastest_folder
from tests.support.postgresql import PostgreSQL
from tests.support.processes import PYTHON, ROOT
from tests.support.redis import Redis
from tests.support.s3 import S3Server
from tests.support.sandbox import SandboxServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDB]:
    """A private MariaDB; `mariadb_server.create_database("name")` gives the address of a new database."""
    with (
        tempfile.TemporaryDirectory(prefix="bw-mariadb-data-", dir=find_fastest_folder()) as folder,
        MariaDB(Path(folder)) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def lay_database(
    mariadb_server: MariaDB, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Callable[[str], str]:
    """`lay_database("name")` makes a MariaDB database that has our tables, and gives its address.

    Ten seconds for the first one of all workers, one for the others.
    """
    folder = tmp_path_factory.getbasetemp()
    shared = folder if worker_id == "master" else folder.parent

    def lay(name: str) -> str:
        with (shared / "laid.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            dump = shared / "laid.json"
            if not dump.exists():
                _lay_tables(mariadb_server.create_database("laid"))
                dump.write_text(json.dumps(mariadb_server.dump_database("laid")), encoding="utf-8")
        return mariadb_server.create_database_from(json.loads(dump.read_text(encoding="utf-8")), name)

    return lay


def _lay_tables(url: str) -> None:
    # Users first: dj-stripe's customers refer to them, and tables without migrations are made before the others.
    script = (
        "import django; django.setup(); from django.core.management import call_command as call;"
        "call('migrate', 'auth', verbosity=0); call('migrate', run_syncdb=True, verbosity=0)"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "TEST_DATABASE_URL": url}
    subprocess.run([PYTHON, "-c", script], cwd=ROOT, env=environment, check=True)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A private Redis; `redis_server.url` is its address."""
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    """A private PostgreSQL; `postgresql_server.url()` is its address."""
    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A private S3 server; `s3_server.environment(bucket)` are the settings for it."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium; open pages with `browser.new_page(base_url=...)` and close them.

    Playwright keeps an event loop running in this thread, which Django takes for asynchronous code: it has to be told
    that there is none.
    """
    with pytest.MonkeyPatch.context() as patch, open_chromium() as chromium:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield chromium


@pytest.fixture(scope="session")
def sandbox_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """One sandbox process for the session; tests that need it empty call `sandbox_server.reset()`."""
    with SandboxServer(tmp_path_factory.mktemp("sandbox")) as server:
        yield server


@pytest.fixture(scope="session")
def prepared_var(tmp_path_factory: pytest.TempPathFactory, laid_database: Path | None) -> Path:
    """The files of an installation that has just been migrated, to copy from."""
    installation = Installation(tmp_path_factory.mktemp("prepared"))
    installation.prepare(database=laid_database)
    return installation.var


@pytest.fixture
def make_installation(tmp_path: Path, prepared_var: Path) -> Iterator[Callable[..., Installation]]:
    """Make installations on the embedded default (`Installation`'s keywords); their processes end with the test."""
    made: list[Installation] = []

    def make(**options: object) -> Installation:
        installation = Installation(tmp_path / f"installation-{len(made)}", **options)  # type: ignore[arg-type]
        installation.prepare(prepared_var)
        made.append(installation)
        return installation

    yield make
    for installation in made:
        installation.kill()
