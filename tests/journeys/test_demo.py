"""A newcomer runs the demo, looks around, and interrupts it; each as they would, as programs of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.journey, pytest.mark.slow]


def start_demo(folder: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "billing_worker.demo", *arguments],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "TMPDIR": tempfile.gettempdir(),
            "HOME": str(folder.parent),
            "DEMO_FOLDER": str(folder),
            **more,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_demo(folder: Path, *arguments: str, **more: str) -> tuple[int, str]:
    process = start_demo(folder, *arguments, **more)
    said, _ = process.communicate(timeout=2800)
    return process.returncode, said


def find_processes_of(folder: Path) -> list[str]:
    """Command lines of processes that were started with this demo's folder in their environment."""
    found = []
    mark = f"DEMO_FOLDER={folder}".encode()
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def wait_for_end(folder: Path, seconds: float = 120) -> list[str]:
    deadline = time.monotonic() + seconds
    while (left := find_processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """One whole demo, over the remains of one that was cut off."""
    folder = tmp_path_factory.mktemp("newcomer") / "demo"
    folder.mkdir()
    (folder / "db.sqlite3").write_bytes(b"half a database")
    (folder / "mail").mkdir()
    (folder / "mail" / "left-over.eml").write_text("from an earlier run")
    code, said = run_demo(folder)
    return folder, code, said


@pytest.mark.timeout(3000)
def test_the_demo_holds_every_check(finished: tuple[Path, int, str]) -> None:
    folder, code, said = finished
    assert code == 0, said
    report = json.loads((folder / "report.json").read_text())
    assert report["passed"] is True
    assert [check["name"] for check in report["checks"] if not check["passed"]] == []
    assert report["facts"]["accounts"] == 60
    assert report["facts"]["period"] == "2026-10"
    assert "Every check holds" in said


def test_the_planted_differences_are_told_with_their_causes(finished: tuple[Path, int, str]) -> None:
    folder, _, _ = finished
    drifts = json.loads((folder / "report.json").read_text())["facts"]["drifts"]
    assert {(drift["account_id"], drift["cause"], drift["difference_minor"]) for drift in drifts} == {
        (1029, "job_amount_differs", 6060),
        (1031, "job_missing_in_legacy", 60600),
        (1034, "quantity_differs", -2939),
        (1037, "job_billed_again", -70700),
        (1040, "rate_differs", 33000),
        (1042, "custom_line", 8000),
        (1045, "duplicate_in_legacy", -565288),
        (1048, "missing_in_legacy", 348000),
    }


def test_it_starts_clean_and_ends_its_processes(finished: tuple[Path, int, str]) -> None:
    folder, _, _ = finished
    assert not (folder / "mail" / "left-over.eml").exists()
    assert wait_for_end(folder) == []


def test_no_secret_is_in_what_it_says_or_logs(finished: tuple[Path, int, str]) -> None:
    folder, _, said = finished
    place = json.loads((folder / "complete.json").read_text())
    written = said + "".join(path.read_text(errors="replace") for path in (folder / "logs").iterdir())
    for name in ("webhook_secret", "django_secret", "stripe_key"):
        assert place[name] not in written, name


@pytest.fixture
def served(finished: tuple[Path, int, str]) -> Iterator[tuple[Path, int, subprocess.Popen[str]]]:
    folder, _, _ = finished
    port, sandbox_port = find_free_port(), find_free_port()
    process = start_demo(folder, "serve", "--port", str(port), SANDBOX_PORT=str(sandbox_port))
    with process:
        yield folder, port, process
        process.kill()


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.timeout(3000)
def test_make_run_serves_what_the_demo_left(served: tuple[Path, int, subprocess.Popen[str]]) -> None:
    folder, port, process = served
    assert process.stdout is not None
    told = ""
    while "Ctrl-C ends everything" not in told:
        line = process.stdout.readline()
        assert line, told
        told += line
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/admin/login/", timeout=60) as page:
        assert page.status == 200
    for user in json.loads((folder / "users.json").read_text()):
        assert user["username"] in told
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130
    assert wait_for_end(folder) == []


def test_serving_on_a_port_in_use_says_what_to_do(finished: tuple[Path, int, str]) -> None:
    folder, _, _ = finished
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = run_demo(folder, "serve", "--port", str(port))
    assert code == 2
    assert said == (
        f"demo: port {port} on 127.0.0.1 is in use: end what listens there, or choose another with PORT=...\n"
    )


def test_serving_before_any_demo_says_what_to_do(tmp_path: Path) -> None:
    assert run_demo(tmp_path / "demo", "serve") == (
        2,
        "demo: there is nothing to serve yet: run `make demo` first\n",
    )


@pytest.mark.timeout(3000)
def test_ctrl_c_ends_everything_and_leaves_nothing_to_serve(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with start_demo(folder) as process:
        assert process.stdout is not None
        told = ""
        while "Start the sandbox as Stripe" not in told:
            line = process.stdout.readline()
            assert line, told
            told += line
        assert run_demo(folder)[0] == 2, "a second demo in the same folder is refused"
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)  # as an impatient person does
        assert process.wait(timeout=120) == 130
    assert wait_for_end(folder) == []
    assert run_demo(folder, "serve") == (2, "demo: there is nothing to serve yet: run `make demo` first\n")
