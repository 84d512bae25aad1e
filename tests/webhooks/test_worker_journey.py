"""The way of an event through real processes: sandbox, gunicorn, the broker in a folder, Celery."""

from __future__ import annotations

import re
import sqlite3
import urllib.request
from collections.abc import Callable

import stripe

from tests.support.installation import Installation
from tests.support.processes import wait_until
from tests.support.sandbox import SandboxServer

CUSTOMERS = 30


def test_a_burst_of_events_is_worked_off_by_the_worker(
    sandbox_server: SandboxServer, make_installation: Callable[..., Installation]
) -> None:
    sandbox_server.reset()
    installation = make_installation(stripe_url=sandbox_server.url)
    client = stripe.StripeClient("sk_test_tests", base_addresses={"api": sandbox_server.url})
    endpoint = client.v1.webhook_endpoints.create(
        {"url": f"{installation.url}/webhook/stripe", "enabled_events": ["*"]}
    )
    installation.environment["STRIPE_WEBHOOK_SECRET"] = f"whsec_former,{endpoint.secret}"
    installation.start_web()
    worker = installation.start_worker()

    for number in range(CUSTOMERS):
        client.v1.customers.create({"name": f"Example {number}"})

    def count(state: str) -> int:
        with sqlite3.connect(installation.var / "db.sqlite3") as database:
            query = "SELECT COUNT(*) FROM webhooks_inboxevent WHERE state = ?"
            return int(database.execute(query, (state,)).fetchone()[0])

    # No beat runs here: the kicks alone must do it.
    wait_until(lambda: count("processed") == CUSTOMERS, seconds=300, what="all events processed")

    with urllib.request.urlopen(f"{installation.url}/metrics", timeout=60) as answer:
        metrics = answer.read().decode()
    pattern = r'^billing_events_processed_total\{outcome="processed",type="customer.created"\} (\S+)$'
    assert re.findall(pattern, metrics, re.MULTILINE) == [f"{CUSTOMERS}.0"], "what the worker counts is there"

    worker.kill()
    for number in range(5):
        client.v1.customers.create({"name": f"Late {number}"})
    wait_until(lambda: count("received") == 5, seconds=300, what="events waiting for a worker")
    assert "5 processed" in installation.manage("process_inbox")
    with sqlite3.connect(installation.var / "db.sqlite3") as database:
        assert database.execute("SELECT COUNT(*) FROM djstripe_customer").fetchone() == (CUSTOMERS + 5,)
        assert database.execute("SELECT COUNT(*) FROM djstripe_apikey").fetchone() == (0,)
