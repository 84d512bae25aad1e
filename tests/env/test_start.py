"""Started with a bad environment, every process prints the same list and ends; none shows a stack trace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from billing_worker.env import BASE_DIR, Environment
from tests.support.processes import find_free_port

#: Three problems: whoever stops at the first shows one.
BAD = {"STRIPE_SECRET_KEY": "sk_live_hunter2", "STRIPE_API_BASE": "http://127.0.0.1:12111"}
NOT_LIVE = (
    "  - STRIPE_SECRET_KEY is a live key but STRIPE_API_BASE is not https://api.stripe.com: "
    "use a test key with the sandbox, or unset STRIPE_API_BASE"
)
LIST = [
    "The configuration has 3 problem(s); docs/settings.md explains each setting:",
    NOT_LIVE,
    "  - STRIPE_SECRET_KEY is a live key: set ENVIRONMENT=production or use a test key",
    "  - STRIPE_WEBHOOK_SECRET is missing: give the endpoint's whsec_ secret (several: comma separated)",
]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name not in Environment.model_fields}
    environ |= {"DJANGO_SETTINGS_MODULE": "billing_worker.settings", "VAR_DIR": str(folder), **BAD}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=BASE_DIR,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("manage.py", "check"),
        ("-m", "celery", "-A", "billing_worker", "worker"),
        ("-m", "celery", "-A", "billing_worker", "beat"),
    ],
)
def test_commands_and_workers_exit_2_with_the_list(tmp_path, arguments):
    result = run(tmp_path, *arguments)
    assert (result.returncode, result.stderr.splitlines()) == (2, LIST)


def test_the_web_server_stops_with_the_list_instead_of_trying_for_ever(tmp_path):
    bind = f"127.0.0.1:{find_free_port()}"
    result = run(
        tmp_path,
        "-m",
        "gunicorn",
        "-c",
        "deploy/gunicorn.conf.py",
        "-w",
        "1",
        "-b",
        bind,
        "billing_worker.wsgi",
    )
    assert result.returncode == 4
    lines = result.stderr.splitlines()
    assert lines[:4] == LIST
    assert "Traceback" not in result.stderr
