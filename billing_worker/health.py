"""Liveness and Prometheus metrics."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import structlog
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from billing_worker.alerts.selectors import count_open_alerts
from billing_worker.database_clock import get_database_now
from billing_worker.process_metrics import VARIABLE
from billing_worker.webhooks.selectors import count_states, get_oldest_waiting

log = structlog.get_logger(__name__)


@require_safe
def get_health(request: HttpRequest) -> JsonResponse:
    """200 when this process answers and its database does too, else 503."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        log.warning("health_check_failed", error=type(error).__name__)
        return JsonResponse({"status": "unavailable", "database": "does not answer"}, status=503)
    return JsonResponse({"status": "ok"})


class DatabaseCollector(Collector):
    """What the tables say at the moment of asking: the same from every process, so it is never added up."""

    def collect(self) -> Iterator[Metric]:
        inbox = GaugeMetricFamily("billing_inbox_events", "Inbox rows by state.", labels=["state"])
        for state, count in count_states().items():
            inbox.add_metric([state], count)
        yield inbox
        now = timezone.now()
        oldest = get_oldest_waiting(now=now)
        waited = (now - oldest).total_seconds() if oldest else 0
        yield GaugeMetricFamily(
            "billing_inbox_oldest_seconds",
            "Seconds that the longest waiting event has been due.",
            value=waited,
        )
        yield GaugeMetricFamily(
            "billing_clock_ahead_seconds",
            "How far this machine's clock is ahead of the database's; claims and leases allow for some seconds.",
            value=(timezone.now() - get_database_now()).total_seconds(),
        )
        alerts = GaugeMetricFamily("billing_alerts_open", "Open alerts by severity.", labels=["severity"])
        for severity, count in count_open_alerts().items():
            alerts.add_metric([severity], count)
        yield alerts


class EveryProcess(Collector):
    """The counters of every process that keeps them beside `folder`, or only in it if it is not one of ours."""

    def __init__(self, folder: Path, *, var_dir: Path) -> None:
        root = var_dir / "metrics"
        self._folders = "*" if folder.resolve().parent == root.resolve() else folder.name
        self._root = folder.parent

    def collect(self) -> Iterator[Metric]:
        try:
            yield from self._read()
        except FileNotFoundError:
            # A worker that just started took a dead one's folder away.
            yield from self._read()

    def _read(self) -> list[Metric]:
        files = [str(file) for file in sorted(self._root.glob(f"{self._folders}/*.db"))]
        return list(MultiProcessCollector.merge(files, accumulate=True))  # type: ignore[no-untyped-call]


@require_safe
def get_metrics(request: HttpRequest) -> HttpResponse:
    """Counters of every web and worker process of this machine, or of this one, and gauges from the database."""
    if VARIABLE in os.environ:
        counters = CollectorRegistry()
        counters.register(EveryProcess(Path(os.environ[VARIABLE]), var_dir=settings.ENV.VAR_DIR))
    else:
        counters = REGISTRY
    tables = CollectorRegistry()
    tables.register(DatabaseCollector())
    text = generate_latest(counters) + generate_latest(tables)
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)
