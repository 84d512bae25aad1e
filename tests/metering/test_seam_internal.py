"""`/internal/rollup`: who may look and run, what is told, and that no secret is."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.core.management import call_command
from django.test import Client

from metering import tasks
from metering.models import MeterEvent, RollUpRun
from metering.runs import services
from metering.services.ingest import store_usage
from tests.factories import BillingLeaseFactory, CustomerAccountFactory, make_service_key
from tests.metering.factories import LIVE, NOW, MeterEventFactory, make_input

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _now():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture(autouse=True)
def kicks(monkeypatch):
    sent: list[str] = []
    monkeypatch.setattr("metering.api.internal.send_kick", sent.append)
    monkeypatch.setattr("metering.tasks.send_kick", sent.append)
    return sent


def make_client(*scopes: str) -> Client:
    return Client(headers={"authorization": f"Api-Key {make_service_key(*scopes)}"})


def run(client: Client, body: Any = "{}"):
    return client.post("/internal/rollup/run", body, content_type="application/json")


def store(period: str = "2026-10-05", quantity: int = 7) -> None:
    CustomerAccountFactory.create(id=5001)
    BillingLeaseFactory.create(account_id=5001)
    store_usage(records=[make_input(5001, period, "ST", quantity)], author="key:test", now=NOW)


@pytest.mark.parametrize("scope", ["usage:write", "usage:read", "internal:run"])
def test_looking_needs_its_scope(scope):
    assert make_client(scope).get("/internal/rollup").status_code == 403
    assert Client().get("/internal/rollup").status_code in (401, 403)


@pytest.mark.parametrize("scope", ["usage:write", "usage:read", "internal:read"])
def test_running_needs_its_scope(scope):
    store()

    assert run(make_client(scope)).status_code == 403
    assert run(Client()).status_code in (401, 403)
    assert not RollUpRun.objects.exists()
    assert not MeterEvent.objects.exists()


def test_a_run_answers_with_what_it_did_and_is_kept(kicks):
    store()

    answer = run(make_client("internal:run"))

    assert answer.status_code == 200
    assert answer.json() == {
        "trigger": "key:test", "period": "", "started_at": "2026-11-03T12:00:00Z",
        "finished_at": "2026-11-03T12:00:00Z", "error": "",
        "months": 1, "records": 1, "samples": 0, "events": 1, "skipped": 0,
        "without_customer": 0,
    }  # fmt: skip
    assert MeterEvent.objects.get().value == 7
    assert kicks == ["metering.send_meter_events"]

    again = run(make_client("internal:run"), "")
    assert (again.status_code, again.json()["events"]) == (200, 0)
    assert RollUpRun.objects.count() == 2
    assert len(kicks) == 1


def test_a_run_of_one_month_leaves_the_others():
    store("2026-09-05")

    assert run(make_client("internal:run"), '{"period": "2026-10"}').json()["events"] == 0
    assert run(make_client("internal:run"), '{"period": "2026-09"}').json()["events"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"period": "2026-13"}', 422), ('{"period": 202610}', 422), ('{"period": null}', 422),
        ('{"month": "2026-10"}', 422), ("[]", 422), ('"2026-10"', 422), ("{", 400), ('{"period": NaN}', 400),
    ],
)  # fmt: skip
def test_a_body_that_is_none_runs_nothing(body, status):
    store()

    assert run(make_client("internal:run"), body).status_code == status
    assert not RollUpRun.objects.exists()


def test_the_state_tells_configuration_events_and_runs_newest_first():
    store()
    MeterEventFactory.create(state="sent", sent_at=NOW, account=CustomerAccountFactory.create(id=5002))
    for trigger in ("first", "second"):
        services.start_run(trigger=trigger, period=None, now=NOW)

    told = make_client("internal:read").get("/internal/rollup").json()

    assert told["configuration"] == {
        "environment": settings.ENV.ENVIRONMENT,
        "shadow": settings.ENV.SHADOW,
        "bill_from": None,
        "accounts_with_own_seam": {"in_shadow": 0, "billing": 0},
        "usage_grace_minutes": settings.ENV.USAGE_GRACE_MINUTES,
        "meter_events_per_second": str(settings.ENV.METER_EVENTS_PER_SECOND),
        "meter_events_transport": settings.ENV.METER_EVENTS_TRANSPORT,
        "stripe_is_configured": told["configuration"]["stripe_is_configured"],
    }
    assert told["meter_events"] == {"sent": 1}
    assert told["last_sent_at"] == "2026-11-03T12:00:00Z"
    assert [(row["trigger"], row["finished_at"]) for row in told["last_runs"]] == [
        ("second", None), ("first", None),
    ]  # fmt: skip


def test_no_secret_is_told():
    text = make_client("internal:read").get("/internal/rollup").content.decode()

    for name in ("DJANGO_SECRET_KEY", "STRIPE_SECRET_KEY"):
        value = getattr(settings.ENV, name)
        plain = value.get_secret_value() if value else ""
        assert not plain or plain not in text
    assert "whsec_" not in text


def test_the_task_and_the_command_keep_their_runs_too(kicks):
    store()
    assert tasks.roll_up_usage() == {"months": 1, "records": 1, "events": 1}
    out = io.StringIO()
    call_command("roll_up_usage", "--period", "2026-10", stdout=out)

    assert "0 meter events" in out.getvalue()
    assert list(RollUpRun.objects.values_list("trigger", "period", "events")) == [
        ("command:roll_up_usage", "2026-10", 0), ("schedule", "", 1),
    ]  # fmt: skip
    assert kicks == ["metering.send_meter_events"]


def test_a_run_that_breaks_off_says_why(monkeypatch):
    def break_off(**_):
        raise RuntimeError("disk full")
        yield

    monkeypatch.setattr(services, "roll_up_usage", break_off)
    started = services.start_run(trigger="test", period=None, now=NOW)

    with pytest.raises(RuntimeError):
        list(services.do_run(started, grace=HOUR, seam=LIVE, clock=lambda: NOW))

    row = RollUpRun.objects.get()
    assert (row.error, row.finished_at) == ("RuntimeError: disk full", NOW)


def test_rows_are_kept_for_ninety_days():
    services.start_run(trigger="old", period=None, now=NOW - timedelta(days=90, seconds=1))
    services.start_run(trigger="kept", period=None, now=NOW - timedelta(days=89))
    services.start_run(trigger="new", period=None, now=NOW)

    assert set(RollUpRun.objects.values_list("trigger", flat=True)) == {"kept", "new"}
