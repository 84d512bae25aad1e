"""The processes of an installation start, answer and end, as people and supervisors start and end them."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable

import pytest

from tests.support.installation import CommandFailedError, Installation
from tests.support.processes import ServerDidNotStartError, accepts_connections, wait_until
from tests.support.redis import Redis

MakeInstallation = Callable[..., Installation]


def test_web_answers_and_ends(make_installation: MakeInstallation) -> None:
    installation = make_installation()
    installation.start_web()

    with urllib.request.urlopen(f"{installation.url}/healthz", timeout=60) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(f"{installation.url}/admin/login/", timeout=60) as answer:
        page = answer.read().decode()
    assert "billing-worker" in page

    installation.stop()
    assert not accepts_connections(installation.port)


@pytest.mark.parametrize("broker", ["files", "redis"])
def test_worker_takes_tasks_and_ends(
    make_installation: MakeInstallation, request: pytest.FixtureRequest, broker: str
) -> None:
    redis_server: Redis | None = request.getfixturevalue("redis_server") if broker == "redis" else None
    installation = make_installation(settings={"CELERY_BROKER_URL": redis_server.url} if redis_server else {})

    worker = installation.start_worker(beat=True)

    assert ("redis://" in worker.tail(lines=200)) == (broker == "redis")
    wait_until(lambda: list(installation.var.glob("schedule*")), what="the schedule")
    assert len(list(installation.var.glob("tmp/worker-*"))) == 1
    assert worker.stop() == 0, "it had to be killed"
    assert list(installation.var.glob("tmp/worker-*")) == []


def test_a_wrong_setting_stops_every_process_with_its_fix(make_installation: MakeInstallation) -> None:
    installation = make_installation(settings={"STRIPE_WEBHOOK_SECRET": ""})

    with pytest.raises(
        CommandFailedError, match="STRIPE_WEBHOOK_SECRET is missing: give the endpoint's whsec_ secret"
    ):
        installation.manage("check")
    with pytest.raises(ServerDidNotStartError, match="STRIPE_WEBHOOK_SECRET is missing"):
        installation.start_web()
    with pytest.raises(ServerDidNotStartError, match="STRIPE_WEBHOOK_SECRET is missing"):
        installation.start_worker()


@pytest.mark.django_db  # celery runs the system checks, and dj-stripe's look into the database
def test_every_scheduled_task_exists() -> None:
    from billing_worker.celery import app

    app.loader.import_default_modules()
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= set(app.tasks)
