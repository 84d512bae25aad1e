"""Start a program, wait until it serves, and end it and its children whatever happens to the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = ROOT / ".venv" / "bin" / "python"


class ServerDidNotStartError(Exception):
    """The program ended or stayed silent; the message ends with what it printed last."""


def find_program(*names: str, package: str) -> str:
    """The first of these programs that this machine has, /usr/sbin included.

    Raises:
        ServerDidNotStartError: naming the Debian package that brings it.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise ServerDidNotStartError(
        f"{names[0]} is missing: run bin/bootstrap dev, or install the package {package}"
    )


def find_free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts_connections(port: int) -> bool:
    """Whether something listens on this port of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], object], *, seconds: float = 60, what: str = "it") -> None:
    """Return as soon as the condition holds.

    Raises:
        TimeoutError: it does not in that time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come about within {seconds} s")
        time.sleep(0.02)


class ServerProcess:
    """A child program in a process group of its own, ended with its group.

    `setpriv --pdeathsig` ends it even if the test runner is killed. Use it as a context manager, or call `start()`
    and `stop()`; both may be called again, and `kill()` stands in for a crash.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        is_ready: Callable[[], bool],
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        start_timeout_seconds: float = 120,
        stop_signal: signal.Signals = signal.SIGTERM,
        run_as: str | None = None,
    ) -> None:
        self.command = [str(part) for part in command]
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self._is_ready = is_ready
        self._env = env
        self._cwd = cwd
        self._start_timeout_seconds = start_timeout_seconds
        self._stop_signal = stop_signal
        self._run_as = run_as

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self.process is not None, "not started"
        return self.process.pid

    def start(self) -> None:
        """Start the program and return once it serves.

        Raises:
            ServerDidNotStartError: it ended, or did not serve in time; it is ended then.
        """
        prefix = ["setpriv", "--pdeathsig", "KILL"]
        if self._run_as:
            prefix += [f"--reuid={self._run_as}", f"--regid={self._run_as}", "--clear-groups"]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*prefix, *self.command],
                cwd=self._cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def _wait_until_ready(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + self._start_timeout_seconds
        while not self._is_ready():
            if self.process.poll() is not None:
                raise ServerDidNotStartError(
                    f"{self.command[0]} ended with {self.process.returncode}:\n{self.tail()}"
                )
            if time.monotonic() > deadline:
                raise ServerDidNotStartError(
                    f"{self.command[0]} does not serve after {self._start_timeout_seconds} s:\n{self.tail()}"
                )
            time.sleep(0.02)

    def stop(self, *, timeout_seconds: float = 60) -> int | None:
        """Ask it to end, wait, and then insist. Answers its exit code, None if it had to be killed."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(self._stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_seconds)
        code = self.process.poll()
        self.kill()
        return code

    def kill(self) -> None:
        """End it and its children at once, as a crash would."""
        if self.process is None:
            return
        # The group outlives its leader while a child of it runs.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def tail(self, *, lines: int = 25) -> str:
        """The end of what it printed."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
