"""What holds for the files as a whole: nothing of the machine they were written on, and commands that exist."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import PYTHON, ROOT

#: Servers that packages come from: a mirror or a lock made elsewhere would name them.
REGISTRY_HOSTS = re.compile(r"https?://[^\s/]*(pypi|pythonhosted|npmjs|debian)[.]")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(work|root|home/[a-z]+|Users)/")


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def read_text(path: Path) -> str:
    content = path.read_bytes()
    return "" if b"\0" in content[:4096] else content.decode("utf-8", errors="replace")


def test_no_file_names_a_registry_or_a_machines_path() -> None:
    this = Path(__file__).resolve()
    found = []
    for path in tracked_files():
        if path == this:
            continue
        for number, line in enumerate(read_text(path).splitlines(), 1):
            if REGISTRY_HOSTS.search(line) or MACHINE_PATHS.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock", "requirements-tools.lock"])
def test_every_pin_of_a_lock_has_hashes_and_no_address(name: str) -> None:
    pins = re.split(
        r"\n(?=[a-z])", re.sub(r"^#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE).strip()
    )
    assert len(pins) > 1
    for pin in pins:
        assert re.match(r"[a-z0-9._-]+==\S+", pin), pin
        assert "--hash=sha256:" in pin, pin
    assert "://" not in (ROOT / name).read_text()
    assert "--index-url" not in (ROOT / name).read_text()


def test_locks_hold_what_pyproject_asks() -> None:
    done = subprocess.run(
        [PYTHON, "bin/check_locks.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_requirement_that_no_lock_holds_is_found(tmp_path: Path) -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    project = (ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(
        re.sub(r'"weasyprint[^"]*"', '"weasyprint>=9999", "not-a-package-of-ours"', project)
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "check_locks.py").write_text((ROOT / "bin" / "check_locks.py").read_text())

    done = subprocess.run(
        [PYTHON, tmp_path / "bin" / "check_locks.py"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "weasyprint is pinned to" in done.stderr
    assert "not-a-package-of-ours is required and not pinned" in done.stderr
    assert done.stderr.endswith("run: make lock\n")


def test_make_lists_every_command() -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony is not None
    commands = set(phony[1].split()) - {"setup", "setup-dev"}
    assert {"demo", "run", "test", "check"} <= commands
    assert set(re.findall(r"^  make ([a-z-]+)", listed, flags=re.MULTILINE)) == commands


def test_ci_runs_what_people_run() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "make --no-print-directory check" in script
    assert "make --no-print-directory test" in script
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("unit", sorted((ROOT / "deploy").glob("*.service")), ids=lambda path: path.stem)
def test_unit_starts_what_is_there(unit: Path) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    service = parser["Service"]
    command = service["ExecStart"].split()
    folder = service["WorkingDirectory"]
    assert command[0] == f"{folder}/.venv/bin/python"
    assert command[1:2] == ["-m"]
    arguments = [word.replace("${WORKER_CONCURRENCY}", "2") for word in command[1:]]

    done = subprocess.run(
        [PYTHON, *arguments, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    for option in (word for word in arguments if word.startswith("--")):
        assert option.partition("=")[0] in done.stdout


def test_gunicorn_accepts_its_configuration() -> None:
    done = subprocess.run(
        [PYTHON, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "--check-config"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
