"""Temporary files of workers: each process has a folder of its own under `VAR_DIR/tmp`, and those of dead ones go.

WeasyPrint copies the fonts of a process into a temporary folder (0.5 MB, or 23 with the big ones) and removes it in the
end. A process of a pool ends without that whenever it is killed, and even when it is replaced after its thousand tasks.

A folder lives as long as somebody holds the lock of the file inside it. The kernel gives the lock back whatever ends
the process, and knows no reused process numbers and no containers.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from billing_worker.process_metrics import is_celery_worker

_LOCK: Final = ".lock"
#: The process that the folder in use belongs to, and its open lock: a fork inherits both and takes a folder of its own.
_held: dict[int, int] = {}


def start_worker_folder(var_dir: Path) -> None:
    """In a Celery worker's main process, before anything is written: give it a folder. Elsewhere nothing."""
    if is_celery_worker(sys.argv) or is_celery_worker(sys.orig_argv):
        take_folder(var_dir / "tmp")
        atexit.register(clear_folders, var_dir / "tmp", os.getpid())


def take_pool_folder(var_dir: Path) -> None:
    """In a process of a worker's pool, right after the fork: give it its own. Where the worker has none, nothing."""
    if _held:
        take_folder(var_dir / "tmp")


def take_folder(root: Path) -> None:
    """Remove the folders of processes that have ended, and let `tempfile` write into a new one of this process."""
    if os.getpid() in _held:
        return
    root.mkdir(parents=True, exist_ok=True)
    with _alone_in(root):
        _remove_dead(root)
        own = Path(tempfile.mkdtemp(prefix="worker-", dir=root))
        lock = os.open(own / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    _held[os.getpid()] = lock
    os.environ["TMPDIR"] = tempfile.tempdir = str(own)


def clear_folders(root: Path, pid: int) -> None:
    """At the end of the worker `pid`: remove its own folder and those of its pool. In a fork of it nothing."""
    if os.getpid() != pid or pid not in _held:
        return
    os.close(_held.pop(pid))
    with _alone_in(root):
        _remove_dead(root)


@contextmanager
def _alone_in(root: Path) -> Iterator[None]:
    """No folder is made while another process looks which ones are dead."""
    with (root / _LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_dead(root: Path) -> None:
    for folder in root.glob("worker-*"):
        if _is_dead(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_dead(folder: Path) -> bool:
    """Nobody holds it. Without a lock file its process died before it had one."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
