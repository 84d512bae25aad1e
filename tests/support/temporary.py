"""One folder for everything temporary of a test run, its workers and its servers, gone when the run ends."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

#: Short: within it a browser keeps a socket, whose path may have 107 characters.
PREFIX = "bw-tests-"
#: A folder without a lock that is younger may be one that another run is just making.
YOUNG_SECONDS = 60


def take_temporary_folder() -> str:
    """A new folder, for this process and what it starts, to its end; `tempfile` and `TMPDIR` point into it.

    A worker's is inside that of the run that started it. What killed runs left is removed, and what mypy leaves, which
    reads the settings of the tests and ends without its exit handlers. pytest keeps its own folders
    (`tmp_path`) where it would have kept them, so that those of a failed test can be looked at.
    """
    base = Path(tempfile.gettempdir())
    remove_left_folders(base)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    # Held open, never closed: the lock ends with the process, however that ends.
    fcntl.flock(os.open(folder / "lock", os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(base))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
    os.mkdir(folder / "tmp")
    return str(folder)


def remove_left_folders(base: Path) -> None:
    """Remove the folders in `base` whose run was killed: nobody holds their lock."""
    for folder in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime < YOUNG_SECONDS:
                continue
            lock = os.open(folder / "lock", os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
