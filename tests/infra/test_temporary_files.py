"""A worker's temporary files go with it, however it ends: what a killed one left is removed by the next to start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT, wait_until

#: A worker's main process and one of its pool, which leave a file each as WeasyPrint would, then wait for a line.
WORKER = """
import os, sys, tempfile
from pathlib import Path
from billing_worker import temporary_files

var = Path(sys.argv[1])
sys.argv = ["celery", "-A", "billing_worker", "worker"]
temporary_files.start_worker_folder(var)
tempfile.mkdtemp(prefix="weasyprint-")
ready, told = os.pipe()
pool = os.fork()
if pool == 0:
    temporary_files.take_pool_folder(var)
    made = tempfile.mkdtemp(prefix="weasyprint-")
    os.write(told, made.encode())
    sys.stdin.readline()
    os._exit(0)
print(pool, tempfile.gettempdir(), os.read(ready, 4096).decode(), flush=True)
sys.stdin.readline()
os.waitpid(pool, 0)
"""


def start(var: Path) -> tuple[subprocess.Popen[str], int, Path, Path]:
    """The process, its child's id, its folder and its child's."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, var],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    child, own, childs = process.stdout.readline().split()
    return process, int(child), Path(own), Path(childs).parent


def kill(process: subprocess.Popen[str], child: int) -> None:
    """Both of them at once, as a machine that runs out of memory would."""
    os.kill(child, signal.SIGKILL)
    process.kill()
    process.communicate()
    wait_until(lambda: has_ended(child), what="the end of the child, which nobody waits for")


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def list_folders(var: Path) -> set[Path]:
    return set((var / "tmp").glob("worker-*"))


def test_what_a_killed_worker_left_goes_when_the_next_one_starts(tmp_path: Path) -> None:
    killed, child, own, childs = start(tmp_path)
    assert list_folders(tmp_path) == {own, childs}
    assert own != childs
    assert list(own.glob("weasyprint-*")), "it writes elsewhere"
    assert list(childs.glob("weasyprint-*")), "it writes elsewhere"
    kill(killed, child)
    assert list_folders(tmp_path) == {own, childs}

    living, child, *folders = start(tmp_path)
    assert list_folders(tmp_path) == set(folders)
    second, childs_child, *more = start(tmp_path)
    assert list_folders(tmp_path) == {*folders, *more}, "a living worker's folder was removed"
    kill(second, childs_child)
    kill(living, child)


def test_at_its_end_a_worker_takes_its_pools_folders_with_it(tmp_path: Path) -> None:
    process, child, own, childs = start(tmp_path)
    (tmp_path / "tmp" / "worker-torso").mkdir()
    os.kill(child, signal.SIGKILL)
    process.communicate("\n")

    assert process.returncode == 0
    assert list_folders(tmp_path) == set()
    assert not own.exists()
    assert not childs.exists()


def test_other_processes_keep_the_system_folder(tmp_path: Path) -> None:
    ask = (
        "import tempfile; from pathlib import Path; from billing_worker import temporary_files as own; import sys;"
        "var = Path(sys.argv[1]); own.start_worker_folder(var); own.take_pool_folder(var); print(tempfile.gettempdir())"
    )
    done = subprocess.run(
        [sys.executable, "-c", ask, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.strip() == str(tmp_path)
    assert list(tmp_path.iterdir()) == []
