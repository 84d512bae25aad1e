"""`/healthz` and `/metrics`."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.db import DatabaseError

from billing_worker import health
from billing_worker.alerts.services import raise_alert
from billing_worker.webhooks.models import InboxEvent

NOW = datetime(2026, 11, 1, 2, tzinfo=UTC)


@pytest.mark.django_db
def test_healthy(client) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert client.post("/healthz").status_code == 405


def test_a_database_that_does_not_answer_is_503(client, monkeypatch) -> None:
    class Broken:
        def cursor(self) -> None:
            raise DatabaseError("gone away, password=secret")

    monkeypatch.setattr(health, "connection", Broken())
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert "secret" not in answer.content.decode()


@pytest.mark.django_db
def test_metrics_hold_counters_and_the_tables(client) -> None:
    raise_alert(name="drift_found", severity="critical", subject="a", detail="", now=NOW)
    InboxEvent.objects.create(
        event_id="evt_1",
        type="invoice.paid",
        payload="{}",
        event_created_at=NOW,
        received_at=NOW,
        next_attempt_at=datetime(2020, 1, 1, tzinfo=UTC),
    )
    text = client.get("/metrics").content.decode()
    assert 'billing_alerts_open{severity="critical"} 1.0' in text
    assert 'billing_inbox_events{state="received"} 1.0' in text
    assert 'billing_alerts_raised_total{name="drift_found",severity="critical"}' in text
    waited = next(line for line in text.splitlines() if line.startswith("billing_inbox_oldest_seconds "))
    assert float(waited.split()[1]) > 86_400


def test_counters_of_several_processes_are_added_up(tmp_path: Path) -> None:
    """Two processes count, a third one answers: what gunicorn's workers do."""
    count = "from billing_worker.alerts.metrics import KICKS_LOST; KICKS_LOST.labels(task='x').inc()"
    read = (
        "from prometheus_client import CollectorRegistry, generate_latest\n"
        "from prometheus_client.multiprocess import MultiProcessCollector\n"
        "registry = CollectorRegistry(); MultiProcessCollector(registry); print(generate_latest(registry).decode())"
    )
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", count], env=environment, check=True)
    done = subprocess.run(
        [sys.executable, "-c", read], env=environment, check=True, capture_output=True, text=True
    )
    assert 'billing_kicks_lost_total{task="x"} 2.0' in done.stdout
