"""One open problem is one alert; Slack hears of it once, outside of any transaction, and never sees a secret."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from pydantic import SecretStr

from billing_worker.alerts import kicks, tasks
from billing_worker.alerts.metrics import KICKS_LOST
from billing_worker.alerts.models import Alert
from billing_worker.alerts.selectors import count_open_alerts, list_unnotified_alerts
from billing_worker.alerts.services import raise_alert, resolve_alert, resolve_alert_by_id
from billing_worker.alerts.states import AlertName, AlertStatus, Severity

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 1, 2, tzinfo=UTC)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Kicks, instead of sending them."""
    found: list[tuple[Any, ...]] = []

    def send(task: str, *args: Any) -> bool:
        found.append((task, *args))
        return True

    monkeypatch.setattr(kicks, "send_kick", send)
    return found


def raise_one(**changes: Any) -> Alert:
    options: dict[str, Any] = {
        "name": AlertName.DRIFT_FOUND,
        "severity": Severity.WARNING,
        "subject": "account 5001",
        "detail": "0.01 USD",
        "now": NOW,
        **changes,
    }
    return raise_alert(**options)


def test_a_problem_that_persists_is_one_alert() -> None:
    first = raise_one()
    again = raise_one(detail="0.02 USD", now=NOW + timedelta(hours=1))
    assert again.pk == first.pk
    assert (again.raised_count, again.detail) == (2, "0.02 USD")
    assert (again.first_raised_at, again.last_raised_at) == (NOW, NOW + timedelta(hours=1))
    assert raise_one(subject="account 5002").pk != first.pk
    assert raise_one(name="something_else").pk != first.pk


def test_a_resolved_problem_that_comes_back_is_a_new_alert() -> None:
    first = raise_one()
    assert resolve_alert(name=AlertName.DRIFT_FOUND, subject="account 5001", now=NOW, by="anna")
    assert not resolve_alert(name=AlertName.DRIFT_FOUND, subject="account 5001", now=NOW)
    first.refresh_from_db()
    assert (first.status, first.resolved_at, first.resolved_by) == (AlertStatus.RESOLVED, NOW, "anna")
    second = raise_one()
    assert second.pk != first.pk
    assert resolve_alert_by_id(alert_id=second.pk, now=NOW, by="bert")
    assert not resolve_alert_by_id(alert_id=second.pk, now=NOW, by="bert")


def test_long_subjects_are_cut_the_same_way_everywhere() -> None:
    subject = "s" * 300
    raise_one(subject=subject)
    raise_one(subject=subject)
    assert Alert.objects.get().raised_count == 2
    assert resolve_alert(name=AlertName.DRIFT_FOUND, subject=subject, now=NOW)


def test_counts_name_every_severity() -> None:
    raise_one()
    raise_one(subject="b", severity="critical")
    assert count_open_alerts() == {"info": 0, "warning": 1, "critical": 1}


def test_an_unknown_severity_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="loud"):
        raise_one(severity="loud")


def test_the_database_ties_the_status_to_its_time() -> None:
    alert = raise_one()
    with pytest.raises((IntegrityError, ValidationError)), transaction.atomic():
        Alert.objects.filter(pk=alert.pk).update(status=AlertStatus.RESOLVED)


def test_slack_is_told_once_and_again_only_if_it_gets_worse(sent, django_capture_on_commit_callbacks) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        alert = raise_one()
        assert sent == [], "not before the commit"
    assert sent == [("alerts.notify", alert.pk)]
    with django_capture_on_commit_callbacks(execute=True):
        raise_one()
        raise_one(severity=Severity.INFO)
    assert len(sent) == 1
    with django_capture_on_commit_callbacks(execute=True):
        assert raise_one(severity=Severity.CRITICAL).severity == Severity.CRITICAL
    assert len(sent) == 2
    assert raise_one().severity == Severity.CRITICAL, "it does not calm down by itself"


class Slack:
    """A loopback incoming webhook; `status` is what it answers."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = 200
        slack = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                slack.messages.append(json.loads(body))
                self.send_response(slack.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Tests read `messages`."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/services/T0/B0/topsecret"


@pytest.fixture
def slack(settings: Any) -> Iterator[Slack]:
    server = Slack()
    settings.ENV = settings.ENV.model_copy(update={"SLACK_WEBHOOK_URL": SecretStr(server.url)})
    yield server
    server.server.shutdown()
    server.server.server_close()


def test_a_message_says_what_and_where_and_hides_secrets(slack) -> None:
    alert = raise_one(
        severity="critical",
        subject="<!channel> & co",
        detail="Invalid API Key provided: sk_live_abcdefgh1234",
    )
    tasks.notify(alert.pk)
    [message] = slack.messages
    assert "*drift_found*: &lt;!channel&gt; &amp; co" in message["text"]
    assert f"/admin/alerts/alert/{alert.pk}/change/|" in message["text"]
    assert "sk_live_***" in message["text"]
    assert "abcdefgh1234" not in message["text"]
    alert.refresh_from_db()
    assert alert.notified_at is not None
    tasks.notify(alert.pk)
    assert len(slack.messages) == 1


def test_what_slack_did_not_take_is_sent_by_the_sweep(slack, caplog) -> None:
    alert = raise_one()
    slack.status = 500
    tasks.notify(alert.pk)
    assert list_unnotified_alerts(limit=9) == [alert]
    slack.status = 200
    tasks.sweep()
    assert list_unnotified_alerts(limit=9) == []
    assert len(slack.messages) == 2
    assert "topsecret" not in caplog.text


def test_an_unreachable_slack_is_logged_without_its_address(slack, caplog) -> None:
    slack.server.shutdown()
    slack.server.server_close()
    tasks.notify(raise_one().pk)
    assert "slack_unreachable" in caplog.text
    assert "topsecret" not in caplog.text


def test_without_slack_alerts_are_only_kept() -> None:
    alert = raise_one()
    tasks.notify(alert.pk)
    tasks.sweep()
    assert list_unnotified_alerts(limit=9) == [alert]


def test_a_broker_that_is_down_is_counted_not_raised(monkeypatch) -> None:
    from celery import current_app
    from kombu.exceptions import OperationalError

    def refuse(*args: Any, **options: Any) -> None:
        raise OperationalError("connection refused")

    before = KICKS_LOST.labels(task="alerts.notify")._value.get()
    monkeypatch.setattr(current_app, "send_task", refuse)
    assert not kicks.send_kick("alerts.notify", 1)
    assert KICKS_LOST.labels(task="alerts.notify")._value.get() == before + 1


@pytest.mark.parametrize(("hours", "is_told"), [(35, False), (37, True)])
def test_a_problem_that_comes_back_after_a_long_silence_is_told_again(
    sent: list[tuple[Any, ...]], django_capture_on_commit_callbacks: Any, hours: int, is_told: bool
) -> None:
    """Nobody closed the alert of the first one: the second must not drown in it."""
    with django_capture_on_commit_callbacks(execute=True):
        alert = raise_one()
    sent.clear()
    Alert.objects.update(notified_at=NOW)

    with django_capture_on_commit_callbacks(execute=True):
        raise_one(now=NOW + timedelta(hours=hours))

    assert sent == [("alerts.notify", alert.pk)] * is_told
    assert len(list_unnotified_alerts(limit=9)) == is_told


def test_an_alert_that_is_resolved_while_it_is_raised_again_is_not_lost() -> None:
    """Another process resolves it between our look and our write: the problem is there all the same."""
    raise_one()
    moments = iter(["the look is over"])

    def resolve_first(execute: Any, sql: str, *told: Any) -> Any:
        if sql.startswith("UPDATE") and "alerts_alert" in sql and next(moments, None):
            assert Alert.objects.update(status="resolved", open_key=None, resolved_at=NOW)
        return execute(sql, *told)

    with connection.execute_wrapper(resolve_first):
        again = raise_one()

    assert again.status == AlertStatus.OPEN
    assert [alert.status for alert in Alert.objects.order_by("pk")] == ["resolved", "open"]
