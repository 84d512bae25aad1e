"""Two workers on MariaDB carry out true-ups at a Stripe that fails, one of them killed in the middle of a call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.metering.true_up_process import CUSTOMERS
from tests.support.processes import PYTHON, ROOT

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.timeout(400)]
#: The SDK tries a call three times: of the first six requests of two workers at least one call fails altogether.
FAULTS = [
    {"kind": "500_after", "times": 2},
    {"kind": "drop_after", "times": 3},
    {"kind": "429", "times": 1},
    {"kind": "slow", "times": 50, "seconds": 0.4},
]
DEADLINE = 240


@pytest.fixture
def environment(request, lay_database, sandbox_server):
    sandbox_server.reset()
    inherited = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "VAR_DIR")}
    return {
        **inherited,
        "DJANGO_SETTINGS_MODULE": "tests.metering.process_settings",
        "TEST_DATABASE_URL": lay_database(request.node.name[:60]),
        "TEST_STRIPE_URL": sandbox_server.url,
    }


def start(environment: dict[str, str], what: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [PYTHON, "-m", "tests.metering.true_up_process", what],
            cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip


def run(environment: dict[str, str], what: str, log: Path) -> dict[str, Any]:
    assert start(environment, what, log).wait(timeout=DEADLINE) == 0, log.read_text()
    return read(log)


def read(log: Path) -> dict[str, Any]:
    """The answer that a process has printed last."""
    answer: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    return answer


def test_each_true_up_becomes_one_object(environment, sandbox_server, tmp_path):
    count = 2 * CUSTOMERS
    assert run(environment, "prepare", tmp_path / "prepare.log") == {"true_ups": count}
    for path in ("/v1/invoiceitems", "/v1/credit_notes"):
        for fault in FAULTS:
            sandbox_server.control("POST", "/_sandbox/faults", {"method": "POST", "path": path, **fault})
    logs = [tmp_path / f"worker-{number}.log" for number in range(2)]
    workers = [start(environment, "work", log) for log in logs]
    try:
        deadline = time.monotonic() + DEADLINE
        # Some calls have failed and a slow one is under way: its effect comes, its answer is never read.
        while sum(fault["hits"] for fault in sandbox_server.control("GET", "/_sandbox/faults")["data"]) < 8:
            assert time.monotonic() < deadline, [log.read_text()[-2000:] for log in logs]
            time.sleep(0.02)
        workers[0].send_signal(signal.SIGKILL)
        codes = [worker.wait(timeout=DEADLINE) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert codes == [-signal.SIGKILL, 0], logs[1].read_text()[-2000:]
    result = read(logs[1])
    assert result["objects"] == [1] * count
    assert (result["states"], result["unknown"]) == ({"settled": count}, [])
    assert result["looked_for"] >= 1
