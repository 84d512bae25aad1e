"""What runs by the clock and breaks off is told, once, until it comes through again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import time_machine
from django.db import OperationalError

from billing_worker.alerts import failed_tasks
from billing_worker.alerts.models import Alert
from billing_worker.alerts.states import AlertStatus
from billing_worker.celery import app
from billing_worker.webhooks import services
from billing_worker.webhooks.tasks import prune_inbox

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 2, 6, tzinfo=UTC)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The nightly pruning meets a deadlock."""

    def fail(**_: object) -> None:
        raise OperationalError(1213, "Deadlock found when trying to get lock")

    monkeypatch.setattr(services, "prune_inbox", fail)
    return monkeypatch


@time_machine.travel(NOW, tick=False)
def test_a_scheduled_task_that_fails_is_an_alert_until_it_comes_through(broken: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        prune_inbox.apply()

    alert = Alert.objects.get()
    assert (alert.name, alert.subject) == ("scheduled_task_failed", "webhooks.prune_inbox")
    assert (alert.status, alert.raised_count) == (AlertStatus.OPEN, 2)
    assert "OperationalError: (1213, 'Deadlock found" in alert.detail

    broken.undo()
    prune_inbox.apply()
    alert.refresh_from_db()
    assert alert.status == AlertStatus.RESOLVED


def test_a_kick_that_fails_is_left_to_the_scheduled_task() -> None:
    @app.task(name="tests.kicked")
    def kicked() -> None:
        raise RuntimeError("broken")

    kicked.apply()
    assert not Alert.objects.exists()


def test_a_database_that_is_away_does_not_break_the_report(
    broken: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(**_: object) -> None:
        raise OperationalError(2006, "Server has gone away")

    broken.setattr(failed_tasks, "raise_alert", refuse)
    with caplog.at_level("WARNING"):
        result = prune_inbox.apply()
    assert isinstance(result.result, OperationalError)
    assert "task_failure_not_told" in caplog.text
