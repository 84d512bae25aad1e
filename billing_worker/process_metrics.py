"""Where each process of this machine keeps its counters; `/metrics` adds them up (`health.py`).

prometheus_client keeps a process's counters in files if `PROMETHEUS_MULTIPROC_DIR` names a folder when it is first
imported. Ours are `VAR_DIR/metrics/web` (gunicorn's configuration makes it) and `VAR_DIR/metrics/worker-<pid>`, one for
each Celery worker with its children. So nothing here may import it. A folder that the environment names belongs to
whoever named it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


def is_celery_worker(arguments: Sequence[str]) -> bool:
    """Whether this process was started as `celery ... worker`, by its program's name or with `python -m celery`."""
    program = Path(arguments[0]) if arguments else Path()
    named = program.name == "celery" or program.parts[-2:] == ("celery", "__main__.py")
    return named and "worker" in arguments[1:]


def keep_counters_of_worker(root: Path, *, pid: int) -> Path:
    """An empty folder of a worker's own; those of workers that have ended go, so that old counts end with them."""
    for folder in root.glob("worker-*"):
        owner = folder.name.removeprefix("worker-")
        if not (owner.isdigit() and Path("/proc", owner).exists()) or owner == str(pid):
            shutil.rmtree(folder, ignore_errors=True)
    own = root / f"worker-{pid}"
    own.mkdir(parents=True, exist_ok=True)
    return own


def start_counting(var_dir: Path) -> None:
    """In a Celery worker, before anything counts: give it a folder. Elsewhere, or where one is named, nothing."""
    if os.environ.get(VARIABLE) or not (is_celery_worker(sys.argv) or is_celery_worker(sys.orig_argv)):
        return
    os.environ[VARIABLE] = str(keep_counters_of_worker(var_dir / "metrics", pid=os.getpid()))
