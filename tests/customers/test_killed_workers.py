"""Two workers over the same customers on the database of production, against a Stripe that fails; one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import dj_database_url
import MySQLdb
import pytest

from billing_worker.gateway.transport import call, make_path
from tests.customers.worker_process import ACCOUNTS
from tests.support.processes import PYTHON, ROOT, wait_until
from tests.support.sandbox import SandboxServer

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.timeout(2400)]
FAULTS: list[dict[str, Any]] = [
    {"kind": "drop_after", "method": "POST", "path": "/v1/customers/*/tax_ids", "times": 3},
    {"kind": "drop_after", "method": "DELETE", "path": "/v1/customers/*/tax_ids/*", "times": 2},
    {"kind": "429", "method": "POST", "path": "/v1/customers/cus_*", "times": 4},
]


def test_each_customer_ends_with_one_tax_id(
    lay_database: Callable[[str], str], stripe: SandboxServer
) -> None:
    url = lay_database("customers")
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "VAR_DIR")},
        "TEST_DATABASE_URL": url,
        "TEST_STRIPE_URL": stripe.url,
    }
    config = dj_database_url.parse(url)
    connection = MySQLdb.connect(
        unix_socket=config["HOST"], user=config["USER"], database=config["NAME"], autocommit=True
    )

    def count(condition: str) -> int:
        cursor = connection.cursor()
        cursor.execute(f"SELECT COUNT(*) FROM customers_customersync WHERE {condition}")
        return int(cursor.fetchone()[0])

    def start(what: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [PYTHON, "-m", "tests.customers.worker_process", what], cwd=ROOT, env=environment
        )

    assert start("prepare").wait(timeout=600) == 0
    assert count("state = 'pending'") == ACCOUNTS
    for fault in FAULTS:
        stripe.control("POST", "/_sandbox/faults", fault)
    workers = [start("sync"), start("sync")]
    try:
        wait_until(lambda: count("tax_id_number > 0") > 1, seconds=600, what="tax ids")
        workers[0].send_signal(signal.SIGKILL)
        codes = [worker.wait(timeout=2000) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert codes[1] == 0
    assert count("state = 'synced' AND claim_token = ''") == ACCOUNTS
    cursor = connection.cursor()
    cursor.execute("SELECT id, stripe_customer_id, name, tax_id_value FROM accounts_account")
    for account_id, customer, name, value in cursor.fetchall():
        found = call("get", make_path("customers", customer), {"expand": ["tax_ids"]})
        assert (found["name"], name) == (f"Neu {account_id}", found["name"])
        assert [one["value"] for one in found["tax_ids"]["data"]] == [value]
