"""The whole application as people run it: management commands, web server and worker as processes of their own."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from billing_worker.env import Environment
from tests.support.processes import (
    PYTHON,
    ROOT,
    ServerProcess,
    find_free_port,
)


class CommandFailedError(Exception):
    """A management command ended with another exit code than the test expects; the message ends with its output."""


class Installation:
    """One installation on the embedded default with its files in `folder`.

    `environment` holds what operators set; change it before starting anything. `manage()` runs a command, `start_web()`
    and `start_worker()` start processes, `stop()` ends them all.
    """

    def __init__(
        self, folder: Path, *, stripe_url: str | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.var = folder / "var"
        self.var.mkdir(parents=True, exist_ok=True)
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._processes: list[ServerProcess] = []
        outside = {name: value for name, value in os.environ.items() if name not in Environment.model_fields}
        outside.pop("TEST_DATABASE_URL", None)
        self.environment = {
            **outside,
            "DJANGO_SETTINGS_MODULE": "billing_worker.settings",
            "PYTHONWARNINGS": "default",
            "VAR_DIR": str(self.var),
            "PUBLIC_URL": self.url,
            "STRIPE_SECRET_KEY": "sk_test_tests",
            "STRIPE_WEBHOOK_SECRET": "whsec_tests",
            "STRIPE_API_BASE": stripe_url or "http://127.0.0.1:9",
            "BILLING_BCC_ADDRESS": "crm@example.com",
            "SHADOW": "false",
            **(settings or {}),
        }

    def manage(self, *arguments: str, expect: int = 0, timeout_seconds: float = 600) -> str:
        """Run a management command and return what it printed, errors included.

        Raises:
            CommandFailedError: its exit code is not `expect`.
        """
        done = subprocess.run(
            [PYTHON, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        if done.returncode != expect:
            raise CommandFailedError(
                f"manage.py {' '.join(arguments)} ended with {done.returncode}, expected {expect}:\n{done.stdout}"
            )
        return done.stdout

    def prepare(self, template: Path | None = None, *, database: Path | None = None) -> None:
        """Lay the database and the static files: copied from a prepared installation, or made.

        `database` is one whose tables are laid already: dj-stripe's migrations take half a minute, and the demo and
        tests/infra run them.
        """
        if template is not None:
            shutil.copy(template / "db.sqlite3", self.var / "db.sqlite3")
            (self.var / "static").symlink_to(template / "static")
            return
        if database is None:
            self.manage("migrate", "--run-syncdb", "--verbosity", "0")
        else:
            shutil.copy(database, self.var / "db.sqlite3")
        self.manage("collectstatic", "--noinput", "--verbosity", "0")

    def start_web(self, *, workers: int = 1) -> ServerProcess:
        """Serve at `url` with gunicorn, as in production."""
        return self._start(
            ServerProcess(
                [PYTHON, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "billing_worker.wsgi"],
                env={
                    **self.environment,
                    "WEB_BIND": f"127.0.0.1:{self.port}",
                    "WEB_CONCURRENCY": str(workers),
                },
                is_ready=self._is_healthy,
                log=self.folder / "web.log",
            )
        )

    def start_worker(self, *, beat: bool = False, concurrency: int = 1) -> ServerProcess:
        """Start a Celery worker, with the schedule in it if `beat`; ready when it takes tasks."""
        log = self.folder / f"worker-{len(self._processes)}.log"
        command: list[str | Path] = [
            *(PYTHON, "-m", "celery", "-A", "billing_worker", "worker"),
            *("--pool", "prefork" if concurrency > 1 else "solo", "--concurrency", str(concurrency)),
            *("--loglevel", "INFO", "--without-gossip", "--without-mingle", "--hostname", f"{log.stem}@%h"),
            *(("--beat", "--schedule", self.var / "schedule") if beat else ()),
        ]
        return self._start(
            ServerProcess(
                command,
                env=self.environment,
                is_ready=lambda: log.exists() and b" ready." in log.read_bytes(),
                log=log,
                start_timeout_seconds=180,
            )
        )

    def stop(self) -> None:
        """End every process that it started, the last one first."""
        while self._processes:
            self._processes.pop().stop()

    def kill(self) -> None:
        """End them at once, as a crash would: a worker on the file broker takes five seconds to stop by itself."""
        while self._processes:
            self._processes.pop().kill()

    def _is_healthy(self) -> bool:
        # gunicorn listens before its workers can answer, and even if they never will.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _start(self, process: ServerProcess) -> ServerProcess:
        process.start()
        self._processes.append(process)
        return process
