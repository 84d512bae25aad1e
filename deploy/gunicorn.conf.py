"""gunicorn's settings, for production and for `make run`.

    gunicorn -c deploy/gunicorn.conf.py billing_worker.wsgi

WEB_BIND: address or socket (default 127.0.0.1:8000). WEB_CONCURRENCY: processes (default 2). WEB_THREADS: threads in
each (default 4): requests wait for the database, so threads help more than processes.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

wsgi_app = "billing_worker.wsgi"
bind = os.environ.get("WEB_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_class = "gthread"
threads = int(os.environ.get("WEB_THREADS", "4"))
# Above the longest call that a request makes (STRIPE_TIMEOUT_SECONDS is 20), below the proxy's 60.
timeout = 40
# A stop waits for the requests in progress; systemd's TimeoutStopSec is above it.
graceful_timeout = 30
# The proxy keeps its connections open.
keepalive = 75
# Whatever leaks goes with the process; the jitter keeps them from restarting together.
max_requests = 5000
max_requests_jitter = 500
# A heartbeat file on a disk blocks when the disk does.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108
accesslog = os.environ.get("WEB_ACCESS_LOG") or None
errorlog = "-"
loglevel = "warning"
# Its control socket would be one file in the home folder for every server of this user.
control_socket_disable = True

# `/metrics` adds up all processes: each keeps its counters in a file here, and workers beside it (process_metrics.py).
# A folder that the environment names belongs to whoever named it; our own is emptied when the server starts (not at a
# reload), or old processes would be counted.
_own_metrics = None
if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    _var = os.environ.get("VAR_DIR") or Path(__file__).resolve().parent.parent / "var"
    _own_metrics = Path(_var) / "metrics" / "web"
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_own_metrics)
    _own_metrics.mkdir(parents=True, exist_ok=True)


def on_starting(server: Any) -> None:
    """Once, before the first process."""
    if _own_metrics is not None:
        shutil.rmtree(_own_metrics, ignore_errors=True)
        _own_metrics.mkdir(parents=True)


def child_exit(server: Any, worker: Any) -> None:
    """A process that ended keeps its counters; its gauges go."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)
