"""A test run leaves nothing in the machine's temporary folder, and clears what a killed one left."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.processes import PYTHON, ROOT
from tests.support.temporary import YOUNG_SECONDS, remove_left_folders

RUN = """
import os, signal, subprocess, sys, tempfile
from tests.support.temporary import take_temporary_folder
folder = take_temporary_folder()
tempfile.mkdtemp()
subprocess.run(["mktemp", "-d"], check=True, stdout=subprocess.DEVNULL)
print(len(os.listdir(os.path.join(folder, "tmp"))), flush=True)
{end}
"""


@pytest.mark.parametrize(("end", "left"), [("sys.exit(3)", 0), ("os.kill(os.getpid(), signal.SIGKILL)", 1)])
def test_what_a_run_and_its_children_made_ends_with_it(tmp_path: Path, end: str, left: int) -> None:
    done = subprocess.run(
        [PYTHON, "-c", RUN.format(end=end)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "2\n", done.stderr
    assert len(list(tmp_path.iterdir())) == left
    for folder in tmp_path.iterdir():
        make_old(folder)
    remove_left_folders(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_another_run_stays(tmp_path: Path) -> None:
    for name in ("bw-tests-running", "bw-tests-starting", "bw-tests-unlocked", "other"):
        (tmp_path / name).mkdir()
    lock = os.open(tmp_path / "bw-tests-running" / "lock", os.O_CREAT | os.O_RDWR)
    (tmp_path / "bw-tests-starting" / "lock").touch()
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in ("bw-tests-running", "bw-tests-unlocked", "other"):
            make_old(tmp_path / name)
        remove_left_folders(tmp_path)
        # Without a lock nobody knows whose it is.
        assert len(list(tmp_path.iterdir())) == 4
    finally:
        os.close(lock)
    remove_left_folders(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bw-tests-starting",
        "bw-tests-unlocked",
        "other",
    ]


def make_old(folder: Path) -> None:
    old = time.time() - YOUNG_SECONDS - 60
    os.utime(folder, (old, old))
