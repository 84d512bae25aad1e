"""A private PostgreSQL on a free port: what stands in for the Redshift warehouse, which speaks its protocol."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.processes import ServerDidNotStartError, ServerProcess, find_free_port


class PostgreSQL(ServerProcess):
    """One server that trusts everyone on this machine; `url("postgres")` connects to its first database."""

    def __init__(self) -> None:
        # The server refuses to run as root and cannot look into root's folders: it gets one of its own.
        self._folder = Path(tempfile.mkdtemp(prefix="bw-postgresql-", dir="/tmp"))
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")
        self._programs = _find_programs()
        self.port = find_free_port()
        super().__init__(
            [
                self._programs / "postgres",
                *("-D", self._folder / "data", "-p", str(self.port), "-k", self._folder),
                *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "full_page_writes=off"),
            ],
            is_ready=self._answers,
            log=self._folder / "postgresql.log",
            cwd=self._folder,
            run_as="postgres" if os.geteuid() == 0 else None,
        )

    def url(self, database: str = "postgres") -> str:
        """The address of one of its databases."""
        return f"postgresql://{self._user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Make the cluster on first use, then serve.

        Raises:
            ServerDidNotStartError: with the end of the server's log.
        """
        if not (self._folder / "data").exists():
            made = subprocess.run(
                [
                    *(
                        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
                        if os.geteuid() == 0
                        else []
                    ),
                    self._programs / "initdb",
                    *("-D", self._folder / "data", "-U", self._user, "-A", "trust", "-E", "UTF8"),
                    *("--locale=C", "--no-sync"),
                ],
                cwd=self._folder,
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode:
                raise ServerDidNotStartError(f"initdb failed:\n{made.stderr}")
        super().start()

    def stop(self, *, timeout_seconds: float = 60) -> int | None:
        """End the server and forget its data."""
        code = super().stop(timeout_seconds=timeout_seconds)
        shutil.rmtree(self._folder, ignore_errors=True)
        return code

    def _answers(self) -> bool:
        return not subprocess.run(
            [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        ).returncode


def _find_programs() -> Path:
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: int(re.sub(r"\D", "", path.parent.parent.name) or 0),
    )
    if not versions:
        raise ServerDidNotStartError(
            "initdb is missing: run bin/bootstrap dev, or install the package postgresql"
        )
    return versions[-1].parent
