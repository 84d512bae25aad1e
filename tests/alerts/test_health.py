"""`/healthz` and `/metrics`."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.db import DatabaseError

from billing_worker import health
from billing_worker.alerts.services import raise_alert
from billing_worker.health import EveryProcess
from billing_worker.process_metrics import is_celery_worker, keep_counters_of_worker
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


@pytest.mark.parametrize(
    ("arguments", "is_worker"),
    [
        (["/opt/x/.venv/bin/celery", "-A", "billing_worker", "worker"], True),
        (["/opt/x/site-packages/celery/__main__.py", "-A", "billing_worker", "worker", "--beat"], True),
        (["/opt/x/.venv/bin/celery", "-A", "billing_worker", "beat"], False),
        (["manage.py", "worker"], False),
        ([], False),
    ],
)
def test_which_process_is_a_worker(arguments: list[str], is_worker: bool) -> None:
    assert is_celery_worker(arguments) is is_worker


def test_a_worker_has_a_folder_of_its_own_and_dead_ones_go(tmp_path: Path) -> None:
    alive, dead = tmp_path / f"worker-{os.getppid()}", tmp_path / "worker-99999999"
    for folder in (alive, dead, tmp_path / "web"):
        folder.mkdir()
    own = keep_counters_of_worker(tmp_path, pid=os.getpid())
    (own / "counter_1.db").touch()
    assert {folder.name for folder in tmp_path.iterdir()} == {alive.name, "web", own.name}
    assert list(keep_counters_of_worker(tmp_path, pid=os.getpid()).iterdir()) == []


def test_folders_of_ours_are_added_up_and_one_that_is_named_stands_alone(tmp_path: Path) -> None:
    count = "from billing_worker.alerts.metrics import KICKS_LOST; KICKS_LOST.labels(task='x').inc()"
    folders = [tmp_path / "metrics" / "web", tmp_path / "metrics" / "worker-1", tmp_path / "own"]
    for folder in folders:
        folder.mkdir(parents=True)
        environment = {"PROMETHEUS_MULTIPROC_DIR": str(folder), "PATH": "/usr/bin:/bin"}
        subprocess.run([sys.executable, "-c", count], env=environment, check=True)

    def read(folder: Path) -> list[float]:
        families = EveryProcess(folder, var_dir=tmp_path).collect()
        return [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == "billing_kicks_lost_total"
        ]

    assert read(folders[0]) == [2.0]
    assert read(folders[2]) == [1.0]
