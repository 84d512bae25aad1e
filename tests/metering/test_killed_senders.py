"""Senders as processes on MariaDB, against a stand-in for Stripe that fails in every way, one of them killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import PYTHON, ROOT, wait_until
from tests.support.sandbox import SandboxServer

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.timeout(2400)]
#: 108 accounts with 31 days of three types: 10,044 events.
ACCOUNTS = 108
#: The first rule that matches is taken: the time-outs come early and for certain, the others all along.
FAULTS = [
    {"kind": "timeout_before", "probability": 0.05, "times": 1, "seconds": 3},
    {"kind": "timeout_after", "probability": 0.05, "times": 1, "seconds": 3},
    {"kind": "429", "probability": 0.05},
    {"kind": "500_before", "probability": 0.02},
    {"kind": "500_after", "probability": 0.02},
    {"kind": "400_duplicate", "probability": 0.01},
    {"kind": "drop_before", "probability": 0.01},
    {"kind": "drop_after", "probability": 0.01},
]
EVENT_PATH = "/v1/billing/meter_events"
STREAM_PATH = "/v2/billing/meter_event_stream"
#: A request holds up to a hundred events, so few of them tell all: the first ten fail, the next are slow.
STREAM_ACCOUNTS = 12
STREAM_FAULTS = [
    {"kind": "429", "times": 2},
    {"kind": "500_before", "times": 2},
    {"kind": "500_after", "times": 2},
    {"kind": "drop_before", "times": 2},
    {"kind": "drop_after", "times": 2},
    {"kind": "slow", "times": 8, "seconds": 0.8},
]


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


def run(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [PYTHON, "-m", "tests.metering.fault_world", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def put_faults(sandbox: SandboxServer, path: str, faults: Sequence[dict[str, Any]]) -> None:
    for fault in faults:
        sandbox.control("POST", "/_sandbox/faults", {"method": "POST", "path": path, **fault})


def read_faults(sandbox: SandboxServer) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = sandbox.control("GET", "/_sandbox/faults")["data"]
    return rules


def count_hits(sandbox: SandboxServer) -> int:
    return sum(fault["hits"] for fault in read_faults(sandbox))


def start_sender(environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    command = [
        "manage.py",
        "send_meter_events",
        "--until-drained",
        "--patience",
        "300",
        "--lease-seconds",
        "5",
    ]
    with log.open("wb") as output:
        return subprocess.Popen(
            [PYTHON, *command], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )


def test_two_senders_and_killed_ones_tell_everything_once(environment, sandbox_server, tmp_path):
    """Those that take the place of the dead use the stream already, as while the transport is being changed."""
    assert run(environment, "prepare", str(ACCOUNTS)) == {"events": 10_044}
    put_faults(sandbox_server, EVENT_PATH, FAULTS)
    put_faults(sandbox_server, STREAM_PATH, STREAM_FAULTS[:5])
    logs = [tmp_path / f"sender-{number}.log" for number in range(4)]
    senders = [start_sender(environment, log) for log in logs[:2]]
    try:
        # One in eight fails: the first thousand or so have been tried, and then some hundreds more.
        for victim, faults in enumerate([120, 180]):
            wait_until(lambda faults=faults: count_hits(sandbox_server) > faults, seconds=300, what="faults")
            assert senders[victim].poll() is None, logs[victim].read_text()
            senders[victim].send_signal(signal.SIGKILL)
            senders.append(start_sender({**environment, "TEST_TRANSPORT": "v2"}, logs[2 + victim]))
        codes = [sender.wait(timeout=2000) for sender in senders]
    finally:
        for sender in senders:
            sender.kill()
            sender.wait()

    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0, 0], "\n".join(
        log.read_text()[-2000:] for log in logs
    )
    result = run(environment, "compare")
    assert result["differences"] == []
    assert result["states"] == {"sent": 10_044}
    # Three times the sum over accounts and days of (31 n + d), n = 0..107, d = 1..31.
    assert result["units"] == 3 * (31 * 31 * 5778 + 108 * 496)
    assert result["repeated"] > 100
    hits = {(rule["path"], rule["kind"]): rule["hits"] for rule in read_faults(sandbox_server)}
    assert min(hits.values()) > 0, hits


def test_batches_of_a_killed_sender_are_told_once(environment, sandbox_server, tmp_path):
    environment = {**environment, "TEST_TRANSPORT": "v2"}
    events = STREAM_ACCOUNTS * 93
    assert run(environment, "prepare", str(STREAM_ACCOUNTS)) == {"events": events}
    put_faults(sandbox_server, STREAM_PATH, STREAM_FAULTS)
    logs = [tmp_path / f"stream-{number}.log" for number in range(2)]
    senders = [start_sender(environment, logs[0])]
    try:
        # Killed while requests are under way: some were counted and no answer was read.
        wait_until(lambda: count_hits(sandbox_server) > 10, seconds=300, what="eleven faults")
        senders[0].send_signal(signal.SIGKILL)
        senders.append(start_sender(environment, logs[1]))
        codes = [sender.wait(timeout=2000) for sender in senders]
    finally:
        for sender in senders:
            sender.kill()
            sender.wait()

    assert codes == [-signal.SIGKILL, 0], "\n".join(log.read_text()[-2000:] for log in logs)
    result = run(environment, "compare")
    assert result["differences"] == []
    assert result["states"] == {"sent": events}
    # Three times the sum over accounts and days of (31 n + d), n = 0..11, d = 1..31.
    assert result["units"] == 3 * (31 * 31 * 66 + 12 * 496)
    assert result["repeated"] > 100
