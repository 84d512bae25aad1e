"""Two workers at the same rollback on MariaDB, one of them killed: each payer is handed back once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cohorts.rollback_worker import PAYERS, TURN
from tests.support.processes import PYTHON, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_killed_worker_turns_no_lease_twice_and_forgets_none(
    lay_database: Callable[[str], str], tmp_path: Path
) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "VAR_DIR")},
        "DJANGO_SETTINGS_MODULE": "tests.metering.process_settings",
        "TEST_DATABASE_URL": lay_database("rollback"),
    }
    folder = tmp_path / "stripe"
    folder.mkdir()
    workers = [
        subprocess.Popen(
            [PYTHON, "-m", "tests.cohorts.rollback_worker", role, str(folder)],
            cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for role in ("first", "second")
    ]  # fmt: skip
    try:
        for worker in workers:
            assert worker.stdout
            assert worker.stdout.readline() == "ready\n"
        first, second = workers
        assert first.stdin
        first.stdin.write("go\n")
        first.stdin.flush()
        output, _ = second.communicate("go\n", timeout=600)
        assert first.wait(timeout=600) == -signal.SIGKILL
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()

    assert second.returncode == 0
    assert json.loads(output) == {
        "outcomes": ["done"],
        "rollback": "done",
        "steps": {"done": PAYERS},
        "changes": {"1 applied": PAYERS},
        "leases": {"2026-11 stripe": PAYERS, "2026-12 legacy": PAYERS},
        "audited": PAYERS,
    }
    subscriptions = {f"sub_{number}" for number in range(PAYERS)}
    keys = {f"subscription-change:{subscription}:1" for subscription in subscriptions}
    assert {path.name for path in folder.iterdir()} == subscriptions | keys
    assert {(folder / name).read_text() for name in subscriptions} == {TURN.isoformat()}
