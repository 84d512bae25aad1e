"""A Celery worker that prints documents and says how much memory it has: `celery -A tests.bench.memory_probe worker`.

Everything but its one task is the application's own worker: the same imports, settings, pool and fork. Run as a program
it asks that worker: `python -m tests.bench.memory_probe FIRST COUNT ANSWER`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from billing_worker.celery import app as app

TASK = "bench.print_documents"


def read_memory(pid: int | str = "self") -> dict[str, float]:
    """Megabytes of a process: resident (what `ps` shows), its share of what it has in common with others, its own."""
    lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
    sizes = {name: int(size) * 1.024 / 1000 for name, size, *_ in lines}
    return {
        "resident": sizes["Rss:"],
        "share": sizes["Pss:"],
        "private": sizes["Private_Clean:"] + sizes["Private_Dirty:"],
    }


@app.task(name=TASK)
def print_documents(first: int, count: int, answer: str) -> None:
    """Print `count` documents, then write what this process and the one that it was forked from take, into a file."""
    from invoices.rendering.pdf import render_pdf
    from tests.bench.bench_pdf import build_twelve

    for number in range(first, first + count):
        render_pdf(build_twelve(number))
    told = {"pool": read_memory(), "main": read_memory(os.getppid())}
    fresh = Path(f"{answer}.new")
    fresh.write_text(json.dumps(told))
    fresh.replace(answer)


def watch_worker(renders: int) -> list[dict[str, dict[str, float]]]:
    """Start such a worker and read its memory after a tenth of the documents and after all of them.

    `pool` is the process that printed them, `main` the one that it was forked from.
    """
    from tests.support.installation import Installation
    from tests.support.processes import PYTHON, ROOT, ServerProcess

    seen = []
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as name:
        installation = Installation(Path(name), settings={"PYTHONWARNINGS": "ignore"})
        log = Path(name) / "worker.log"
        worker = ServerProcess(
            [
                *(PYTHON, "-m", "celery", "-A", "tests.bench.memory_probe", "worker", "--loglevel", "INFO"),
                *("--concurrency", "1", "--without-gossip", "--without-mingle"),
            ],
            env=installation.environment,
            is_ready=lambda: log.exists() and b" ready." in log.read_bytes(),
            log=log,
            start_timeout_seconds=120,
        )
        early = max(renders // 10, 1)
        with worker:
            for first, last in ((0, early), (early, renders)):
                answer = Path(name) / f"{last}.json"
                subprocess.run(
                    [PYTHON, "-m", "tests.bench.memory_probe", str(first), str(last - first), answer],
                    cwd=ROOT, env=installation.environment, check=True,
                )  # fmt: skip
                while not answer.exists():
                    if b"raised unexpected" in log.read_bytes():
                        raise SystemExit(worker.tail())
                    time.sleep(0.2)
                seen.append(json.loads(answer.read_text()))
    return seen


if __name__ == "__main__":
    app.send_task(TASK, args=[int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]])
