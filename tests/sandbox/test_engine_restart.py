"""State outlives the process, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from sandbox.engine.idempotency import Replays
from sandbox.engine.store import Store
from tests.sandbox.process import ROOT, SandboxProcess
from tests.sandbox.receiver import Receiver

Start = Callable[..., SandboxProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start sandboxes on one state file; they end with the test."""
    started: list[SandboxProcess] = []

    def run(*arguments: str) -> SandboxProcess:
        started.append(SandboxProcess.start("--state", str(tmp_path / "deep" / "state.sqlite3"), *arguments))
        return started[-1]

    yield run
    for process in started:
        process.kill()


def test_everything_answered_survives_a_kill(start: Start) -> None:
    first = start()
    v1 = first.client.v1
    product = v1.products.create(
        {"name": "Seats", "default_price_data": {"currency": "usd", "unit_amount": 5}}
    )
    kept = v1.customers.create({"name": "Zoë", "payment_method": "pm_card_visa"})
    gone = v1.customers.create()
    v1.customers.delete(gone.id)
    headers = {"Idempotency-Key": "once"}
    answer = first.request("POST", "/v1/customers", {"name": "Ada"}, headers=headers)
    paths = ["/v1/customers", "/v1/products", "/v1/prices", "/v1/events?limit=100", f"/v1/customers/{gone.id}",
             f"/v1/payment_methods?customer={kept.id}", f"/v1/prices?product={product.id}"]  # fmt: skip
    before = [first.request("GET", path).body for path in paths]
    first.kill()

    second = start()
    assert [second.request("GET", path).body for path in paths] == before
    replayed = second.request("POST", "/v1/customers", {"name": "Ada"}, headers=headers)
    assert replayed.raw == answer.raw
    assert replayed.headers["idempotent-replayed"] == "true"
    newest = second.client.v1.customers.create()
    assert second.client.v1.customers.list({"limit": 1}).data[0].id == newest.id


def test_a_burst_is_durable_once_answered(start: Start) -> None:
    first = start()
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda n: first.client.v1.customers.create({"name": str(n)}).id, range(100)))
    first.kill()
    second = start()
    found = {customer.id for customer in second.client.v1.customers.list({"limit": 100}).auto_paging_iter()}
    assert found == set(ids)


def test_undelivered_webhooks_go_on_after_a_restart(start: Start) -> None:
    with Receiver() as receiver:
        first = start("--webhook-retries", "0.05,30,30")
        receiver.answers += [503, 503]
        endpoint = first.client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
        first.client.v1.customers.create({"name": "Ada"})
        first.wait_for(lambda: first.deliveries() and len(first.deliveries()[0]["attempts"]) == 2)
        first.kill()
        second = start("--webhook-retries", "0.05,0.05,0.05")
        row = second.deliveries()[0]
        assert (row["state"], len(row["attempts"])) == ("pending", 2)
        assert second.request("POST", f"/_sandbox/deliveries/{row['id']}/retry").status == 200
        second.wait_for(lambda: second.deliveries()[0]["state"] == "delivered")
        assert receiver.types(str(endpoint.secret)) == ["customer.created"] * 3


def test_reset_forgets_on_disk_too(start: Start) -> None:
    first = start()
    first.client.v1.customers.create()
    first.reset()
    assert first.client.v1.customers.list().data == []
    first.client.v1.customers.create({"name": "after"})
    first.kill()
    second = start()
    assert [customer.name for customer in second.client.v1.customers.list().data] == ["after"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_end_is_quick_and_quiet(start: Start, number: signal.Signals) -> None:
    running = start()
    running.client.v1.customers.create()
    running.process.send_signal(number)
    assert running.process.wait(5) in (0, -number)


def test_a_second_sandbox_on_the_same_state_is_refused_in_one_line(start: Start, tmp_path: Path) -> None:
    start()
    second = _run("--port", "0", "--state", str(tmp_path / "deep" / "state.sqlite3"))
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert "in use by another sandbox" in second.stderr


def test_a_port_in_use_is_refused_in_one_line(start: Start, tmp_path: Path) -> None:
    port = start().url.rpartition(":")[2]
    second = _run("--port", port, "--memory")
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert "choose another --port" in second.stderr


def test_a_state_file_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("not a database, but long enough to be looked at" * 50)
    refused = _run("--port", "0", "--state", str(tmp_path / "state"))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_forward_to_registers_an_endpoint_that_survives_reset(start: Start) -> None:
    with Receiver() as receiver:
        running = start("--forward-to", receiver.url, "--webhook-secret", "whsec_known")
        running.reset()
        running.client.v1.customers.create()
        running.wait_for(lambda: receiver.received)
        assert receiver.types("whsec_known") == ["customer.created"]
        assert len(running.client.v1.webhook_endpoints.list().data) == 1


def test_answers_are_kept_for_replay_for_a_day_and_purged_after_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.sqlite3")
    with time_machine.travel(datetime(2026, 3, 1, tzinfo=UTC), tick=False) as clock:
        Replays(store).keep("sk_test_a", "k", "print", 200, "{}")
        clock.shift(timedelta(hours=24))
        assert Replays(store).find("sk_test_a", "k", "print") == (200, "{}")
        store.commit()
        clock.shift(timedelta(seconds=1))
        assert Replays(store).find("sk_test_a", "k", "print") is None
        assert store.get_text("_replay", "sk_test_a:k") is None
    store.close()
