"""Beat's schedule names tasks that exist."""

from __future__ import annotations

import pytest

from billing_worker.celery import app


@pytest.mark.django_db  # loading the tasks runs dj-stripe's checks, which look into its tables
def test_every_scheduled_task_is_registered() -> None:
    app.loader.import_default_modules()
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert scheduled <= set(app.tasks)
    assert {"webhooks.sweep_inbox", "webhooks.backfill_events", "mirror.sweep", "alerts.sweep"} <= scheduled
