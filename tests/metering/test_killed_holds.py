"""Two workers at the same drafts on MariaDB, one of them killed: each draft is told once to wait and once to go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.metering.hold_worker import DRAFTS
from tests.support.processes import PYTHON, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_killed_worker_holds_no_draft_twice_and_forgets_none(
    lay_database: Callable[[str], str], tmp_path: Path
) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "VAR_DIR")},
        "DJANGO_SETTINGS_MODULE": "tests.metering.process_settings",
        "TEST_DATABASE_URL": lay_database("holds"),
    }
    folder = tmp_path / "stripe"
    folder.mkdir()
    workers = [
        subprocess.Popen(
            [PYTHON, "-m", "tests.metering.hold_worker", role, str(folder)],
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
    left, held, released = json.loads(output)
    assert left["holding"] >= 1, "the first died with a claim"
    assert held == {"held": DRAFTS}
    assert released == {"released": DRAFTS}
    wanted = {f"in_{number}.{said}" for number in range(DRAFTS) for said in (False, True)}
    assert {path.name for path in folder.iterdir()} == wanted
