"""Replay, backfill, pruning and the commands over them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing_worker import gateway
from billing_worker.alerts.models import Alert
from billing_worker.core.errors import InvalidInput
from billing_worker.webhooks import tasks
from billing_worker.webhooks.models import InboxEvent
from billing_worker.webhooks.services import backfill_events, prune_inbox
from billing_worker.webhooks.states import InboxState
from tests.mirror.samples import NOVEMBER, make_customer, make_event

pytestmark = pytest.mark.django_db

AT = datetime.fromtimestamp(NOVEMBER, UTC)


def run(name: str, *arguments: str) -> str:
    out = StringIO()
    call_command(name, *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stripe's own record of events, newest first, as `/v1/events` gives it."""
    events: list[dict[str, Any]] = []
    monkeypatch.setattr(
        gateway,
        "list_events",
        lambda *, created_from, types=None: iter(
            [event for event in events if event["created"] >= created_from.timestamp()]
        ),
    )
    return events


def test_a_backfill_takes_in_what_is_missing_and_only_that(deliver, recorded, work) -> None:
    events = [make_event("customer.updated", make_customer(), created=NOVEMBER - n) for n in range(5)]
    recorded += events
    deliver(events[2])
    now = AT + timedelta(hours=1)
    assert backfill_events(since=AT - timedelta(hours=1), now=now) == (5, 4)
    assert backfill_events(since=AT - timedelta(hours=1), now=now) == (5, 0)
    assert InboxEvent.objects.filter(source="backfill").count() == 4
    assert work() == {"processed": 5}
    assert Alert.objects.get().name == "webhook_gap"
    assert "4 event(s)" in Alert.objects.get().detail


def test_a_gap_is_told_again_after_an_hour_without_one(recorded, kicks) -> None:
    since = AT - timedelta(hours=1)
    for number, told in enumerate(["open", "resolved", "open"]):
        if told == "open":
            recorded.append(make_event("customer.updated", make_customer(), created=NOVEMBER - number))
        backfill_events(since=since, now=AT + timedelta(hours=1 + number))
        assert Alert.objects.latest("pk").status == told
    backfill_events(since=since, now=AT + timedelta(hours=5), types=["customer.updated"])
    assert Alert.objects.filter(status="open").count() == 1, "who looks for one type proves nothing"


def test_events_that_are_still_on_their_way_are_no_gap(recorded, kicks) -> None:
    recorded.append(make_event("customer.updated", make_customer()))
    assert backfill_events(since=AT - timedelta(hours=1), now=AT + timedelta(minutes=1)) == (1, 1)
    assert not Alert.objects.exists()


def test_ignored_types_are_kept_and_are_no_gap(recorded, kicks) -> None:
    recorded.append(make_event("payout.paid", {"id": "po_1", "object": "payout"}))
    assert backfill_events(since=AT, now=AT + timedelta(days=1)) == (1, 0)
    assert InboxEvent.objects.get().state == InboxState.IGNORED
    assert not Alert.objects.exists()
    assert kicks == []


def test_stripe_remembers_thirty_days(recorded) -> None:
    with pytest.raises(InvalidInput, match="30 days"):
        backfill_events(since=AT - timedelta(days=31), now=AT)


def test_the_hourly_backfill_needs_a_key(settings, recorded) -> None:
    settings.ENV = settings.ENV.model_copy(update={"STRIPE_SECRET_KEY": None})
    assert tasks.backfill_events() == {"seen": 0, "added": 0}


def test_the_backfill_command(recorded, kicks) -> None:
    recorded.append(make_event("customer.updated", make_customer()))
    with time_machine.travel(AT + timedelta(hours=1)):
        assert "1 event(s) at Stripe, 1 of them new" in run("backfill_events", "--since", "2026-11-01")
        with pytest.raises(CommandError, match="not a date") as caught:
            run("backfill_events", "--since", "yesterday")
    assert caught.value.returncode == 2


def test_a_replay_processes_settled_events_again(deliver, work) -> None:
    event = make_event("customer.updated", make_customer())
    deliver(event)
    assert run("replay_events", "--type", "customer.updated").startswith("0 event(s)"), "it is still waiting"
    work()
    assert run("replay_events", "--id", event["id"]).startswith("1 event(s)")
    row = InboxEvent.objects.get()
    assert (row.state, row.attempts, row.processed_at) == (InboxState.RECEIVED, 0, None)
    assert work() == {"processed": 1}
    assert run("replay_events", "--failed").startswith("0 event(s)")


@pytest.mark.parametrize(("arguments", "says"), [((), "say which"), (("--id", "evt_none"), "evt_none")])
def test_a_replay_of_nothing_is_refused(arguments, says) -> None:
    with pytest.raises(CommandError, match=says) as caught:
        run("replay_events", *arguments)
    assert caught.value.returncode == 2


def test_the_inbox_can_be_worked_off_without_celery(deliver) -> None:
    deliver(make_event("customer.updated", make_customer()))
    assert run("process_inbox") == "1 processed\n"
    assert run("process_inbox") == "nothing due\n"


def test_the_sweep_finds_what_a_lost_kick_left(deliver) -> None:
    deliver(make_event("customer.updated", make_customer()))
    assert tasks.sweep_inbox() == {"processed": 1}


def test_a_backlog_is_told_of_until_it_is_gone(deliver) -> None:
    deliver(make_event("customer.updated", make_customer()))
    InboxEvent.objects.update(next_attempt_at=timezone.now() - timedelta(minutes=16))
    tasks.sweep_inbox()
    assert Alert.objects.get().status == "open"
    tasks.sweep_inbox()
    assert Alert.objects.get().status == "resolved"


def test_a_task_that_ran_out_of_time_hands_over(deliver, kicks, monkeypatch) -> None:
    for _ in range(3):
        deliver(make_event("customer.updated", make_customer()))
    kicks.clear()
    monkeypatch.setattr(tasks, "drain_inbox", lambda: {"processed": 1})
    tasks.process_inbox()
    assert kicks == [("webhooks.process_inbox",)]


def test_old_settled_events_are_pruned_and_failures_are_kept(deliver, work) -> None:
    for type_ in ("customer.updated", "payout.paid", "customer.deleted"):
        deliver(make_event(type_, make_customer()))
    work()
    InboxEvent.objects.filter(type="customer.deleted").update(state=InboxState.FAILED)
    now = timezone.now()
    assert prune_inbox(now=now + timedelta(days=89)) == 0
    assert prune_inbox(now=now + timedelta(days=91)) == 2
    assert InboxEvent.objects.get().type == "customer.deleted"


def test_an_endpoint_is_registered_once_and_its_secret_shown(monkeypatch) -> None:
    made: list[dict[str, Any]] = []
    endpoint = gateway.WebhookEndpoint(
        id="we_1",
        url="https://example.com/webhook/stripe",
        status="enabled",
        enabled_events=(),
        secret="whsec_new",
    )
    monkeypatch.setattr(gateway, "list_webhook_endpoints", lambda: [endpoint] if made else [])

    def create(**options: Any) -> gateway.WebhookEndpoint:
        made.append(options)
        return endpoint

    monkeypatch.setattr(gateway, "create_webhook_endpoint", create)
    url = ("--url", endpoint.url)
    assert "STRIPE_WEBHOOK_SECRET=whsec_new" in run("register_webhook_endpoint", *url)
    assert {"invoice.finalized", "customer.subscription.deleted", "price.updated"} <= set(made[0]["events"])
    assert not any(name.startswith("v1.") or name.endswith(".") for name in made[0]["events"])
    with pytest.raises(CommandError, match="already"):
        run("register_webhook_endpoint", *url)
    run("register_webhook_endpoint", *url, "--force")
    assert len(made) == 2
    with pytest.raises(CommandError, match="not an http"):
        run("register_webhook_endpoint", "--url", "example.com")
