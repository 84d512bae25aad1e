"""Which rows a worker takes next, and that finding them costs the same whatever waits behind them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing_worker.webhooks.models import InboxEvent
from billing_worker.webhooks.selectors import list_due
from billing_worker.webhooks.states import CLAIM_TIMEOUT, InboxState

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def add(number: int, state: InboxState = InboxState.RECEIVED, **values: Any) -> None:
    told = {
        "event_id": f"evt_{number}", "type": "invoice.updated", "state": state, "payload": "{}", "received_at": NOW,
        "event_created_at": NOW - timedelta(hours=1) + timedelta(minutes=number),
        "next_attempt_at": NOW if state == InboxState.RECEIVED else None,
    }  # fmt: skip
    InboxEvent.objects.create(**told | values)


def list_ids(limit: int) -> list[str]:
    return [row.event_id for row in list_due(now=NOW, limit=limit)]


def test_what_a_dead_worker_left_takes_its_place_in_stripes_order():
    stale = NOW - CLAIM_TIMEOUT - timedelta(seconds=1)
    add(4)
    add(3, InboxState.PROCESSING, claimed_at=stale, claim_token="dead")
    add(2)
    add(1, next_attempt_at=NOW + timedelta(seconds=1))
    add(0, InboxState.PROCESSING, claimed_at=NOW, claim_token="busy")
    add(5, InboxState.PROCESSED, processed_at=NOW)

    assert list_ids(25) == ["evt_2", "evt_3", "evt_4"]
    assert list_ids(2) == ["evt_2", "evt_3"]


@pytest.mark.django_db(transaction=True)
def test_a_backlog_is_read_in_its_order_and_not_sorted_for_every_few_rows():
    """Sorting a backlog of 200,000 for every 25 rows took MariaDB three seconds each time."""
    if connection.vendor != "mysql":
        pytest.skip("SQLite chooses without knowing how many wait")
    InboxEvent.objects.bulk_create(
        InboxEvent(
            event_id=f"evt_{number}", type="invoice.updated", payload="{}", received_at=NOW, event_created_at=NOW,
            next_attempt_at=NOW,
        )
        for number in range(2_000)
    )  # fmt: skip
    with connection.cursor() as cursor:
        # It commits what went before: in a test's own transaction the rows would stay.
        cursor.execute("ANALYZE TABLE webhooks_inboxevent")
        cursor.fetchall()
    with CaptureQueriesContext(connection) as asked:
        list_due(now=NOW, limit=25)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {asked[0]['sql']}")
        plan = " ".join(map(str, cursor.fetchone()))
    assert "inbox_queue" in plan
    assert "filesort" not in plan
