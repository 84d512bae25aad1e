"""The application as `bench_delivery` runs it: the real one, with a stop-watch around each stage.

`celery -A tests.bench.delivery_probe` and `gunicorn tests.bench.delivery_probe:application`. Each process keeps its
totals in a file of its own under `PROBE_DIR`: `{stage: [calls, wall seconds, CPU seconds]}`, a stage inside another
counted once, for the inner one.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

#: Stage by the function that does it: `module`, `name in it`. Where a module imported a name, it is patched there.
STAGES = {
    "mirrored": ("billing_worker.webhooks.tasks", "process_row"),
    "copied for dj-stripe": ("billing_worker.webhooks.processing", "copy_object"),
    "document built, checked": ("invoices.receivers", "ensure_document_of"),
    "document task": ("invoices.services.documents", "render_document"),
    "rendered": ("invoices.services.documents", "render_pdf"),
    "stored": ("invoices.services.documents", "store_pdf"),
    "mail task": ("invoices.services.mails", "deliver_mail"),
    "mail built": ("invoices.services.mails", "build_message"),
    "handed to Mailgun": ("invoices.services.mails", "send_message"),
}
#: Requests by path.
PATHS = {"/webhook/stripe": "webhook acknowledged", "/invoices/mailgun/tracking": "tracking noted"}


class Watch:
    """Totals of one process. Threads have their own stacks and share the totals."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._totals: dict[str, list[float]] = {}
        self._pid = 0

    def measure(self, stage: str, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `work` on the clock of `stage`."""
        stack = self._local.__dict__.setdefault("stack", [])
        stack.append([0.0, 0.0])
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            return work(*args, **kwargs)
        finally:
            wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
            inner_wall, inner_cpu = stack.pop()
            if stack:
                stack[-1][0] += wall
                stack[-1][1] += cpu
            self._add(stage, wall - inner_wall, cpu - inner_cpu, is_outermost=not stack)

    def _add(self, stage: str, wall: float, cpu: float, *, is_outermost: bool) -> None:
        with self._lock:
            if self._pid != os.getpid():
                # A fork: what its parent counted is in the parent's file.
                self._pid, self._totals = os.getpid(), {}
            totals = self._totals.setdefault(stage, [0, 0.0, 0.0])
            totals[0] += 1
            totals[1] += wall
            totals[2] += cpu
            if is_outermost:
                folder = Path(os.environ["PROBE_DIR"])
                fresh = folder / f"{self._pid}.new"
                fresh.write_text(json.dumps(self._totals))
                fresh.replace(folder / f"{self._pid}.json")


WATCH = Watch()


def patch_stages() -> None:
    """Put the watch around each stage; a stage that is gone is an error, not a gap in the figures."""
    for stage, (module_name, name) in STAGES.items():
        module = importlib.import_module(module_name)
        original = getattr(module, name)
        setattr(module, name, functools.wraps(original)(functools.partial(WATCH.measure, stage, original)))


def read_totals(folder: Path) -> dict[str, list[float]]:
    """The totals of all processes, by stage."""
    totals: dict[str, list[float]] = {}
    for path in folder.glob("*.json"):
        for stage, values in json.loads(path.read_text()).items():
            present = totals.setdefault(stage, [0, 0.0, 0.0])
            for place, value in enumerate(values):
                present[place] += value
    return totals


if os.environ.get("PROBE_ROLE") == "web":
    from billing_worker.wsgi import application as _application

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The application, each request on the clock of its path. Answers are small, so calling it is all of it."""
        stage = PATHS.get(environ["PATH_INFO"], "other requests")
        answer: Iterable[bytes] = WATCH.measure(stage, _application, environ, start_response)
        return answer


if os.environ.get("PROBE_ROLE") == "worker":
    from celery.signals import worker_process_init

    from billing_worker.celery import app as app

    @worker_process_init.connect(weak=False)
    def _start(**_: object) -> None:
        patch_stages()
