"""The demo's processes: started in order, watched, and ended with all their children whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final

from billing_worker.demo.place import FOLDER, ROOT, DemoError

START_TIMEOUT_SECONDS: Final = 300
STOP_TIMEOUT_SECONDS: Final = 10
INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(slots=True)
class Child:
    """One process with its log file. It leads a group of its own, so that its children end with it."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def require_alive(self) -> None:
        """Raises DemoError with the end of the log if the process has died."""
        if self.process.poll() is None:
            return
        tail = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise DemoError(
            f"{self.name} ended with code {self.process.returncode}: {' '.join(tail)} (log: {self.log})"
        )


class Processes:
    """A context manager that ends every process started through it, on success, error, Ctrl-C and SIGTERM."""

    def __init__(self) -> None:
        self.children: list[Child] = []

    def __enter__(self) -> Processes:
        # SIGINT too: a shell starts what runs in its background with it ignored, and a child of that inherits this.
        for number in INTERRUPTS:
            signal.signal(number, _raise_interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A second Ctrl-C must not cut the clean-up short: it takes seconds, and what it leaves would run on.
        for number in INTERRUPTS:
            signal.signal(number, signal.SIG_IGN)
        for child in reversed(self.children):
            _signal_group(child.process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        for child in reversed(self.children):
            try:
                child.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal_group(child.process, signal.SIGKILL)
                child.process.wait()

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str] | None = None) -> Child:
        """Start a process whose output goes to `var/demo/logs/<name>.log`."""
        logs = FOLDER / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        path = logs / f"{name}.log"
        with path.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=dict(env) if env is not None else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        child = Child(name, process, path)
        self.children.append(child)
        return child

    def start_sandbox(self, *, port: int, web_port: int, webhook_secret: str) -> Child:
        """The stand-in for Stripe, which sends its webhooks to the web process; back when it answers."""
        child = self.start(
            "sandbox",
            [
                *(
                    sys.executable,
                    "-m",
                    "sandbox",
                    "--port",
                    str(port),
                    "--state",
                    str(FOLDER / "sandbox.sqlite3"),
                ),
                *(
                    "--forward-to",
                    f"http://127.0.0.1:{web_port}/webhook/stripe",
                    "--webhook-secret",
                    webhook_secret,
                ),
            ],
        )
        wait_for_answer(child, f"http://127.0.0.1:{port}/_sandbox/health")
        return child

    def start_web(self, *, port: int, env: Mapping[str, str]) -> Child:
        """The web process under gunicorn; back when `/healthz` answers."""
        child = self.start(
            "web",
            [
                *(sys.executable, "-m", "gunicorn", "billing_worker.wsgi", "--bind", f"127.0.0.1:{port}"),
                *("--workers", "1", "--threads", "4", "--graceful-timeout", "5", "--log-level", "warning"),
            ],
            env=env,
        )
        wait_for_answer(child, f"http://127.0.0.1:{port}/healthz")
        return child

    def start_worker(self, *, env: Mapping[str, str]) -> Child:
        """A Celery worker with the schedule inside it, back when it takes tasks.

        One process does both, because the embedded broker is made for one reader.
        """
        child = self.start(
            "worker",
            [
                *(sys.executable, "-m", "celery", "-A", "billing_worker", "worker", "--beat"),
                *("--schedule", str(FOLDER / "beat-schedule"), "--concurrency", "2", "--loglevel", "info"),
                *("--without-gossip", "--without-mingle"),
            ],
            env=env,
        )
        wait_until(child, lambda: " ready." in child.log.read_text(encoding="utf-8", errors="replace"))
        return child

    def require_alive(self) -> None:
        """Raises DemoError if a process has died."""
        for child in self.children:
            child.require_alive()


def wait_for_answer(child: Child, url: str) -> None:
    """Wait until the address answers with a success.

    Raises:
        DemoError: the process died, or a minute passed.
    """
    wait_until(child, lambda: _answers(url))


def wait_until(child: Child, holds: Callable[[], bool]) -> None:
    """Wait until something holds of a process that is starting.

    Raises:
        DemoError: the process died, or a minute passed.
    """
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not holds():
        child.require_alive()
        if time.monotonic() > deadline:
            raise DemoError(f"{child.name} was not ready within {START_TIMEOUT_SECONDS} s: see {child.log}")
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 (an address of our own on loopback)
            return bool(answer.status < 300)
    except (urllib.error.URLError, OSError):
        return False


def run_program(*arguments: str) -> str:
    """Run a short program of ours to its end; its standard output.

    Raises:
        DemoError: with the last line that it said.
    """
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise DemoError(f"{' '.join(arguments[:3])} failed: {' '.join(said)}")
    return done.stdout


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _raise_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
