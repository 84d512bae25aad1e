"""Running Stripe's CLI against an address of ours."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
API_KEY = "sk_test_" + "c0ffee" * 4


class CliMissing(RuntimeError):
    """Stripe's CLI is not installed: run ``make setup-dev`` (or ``npm ci`` in tests/stripe_cli)."""


class TriggerFailed(AssertionError):
    """The CLI did not get through its fixture; the message holds what it printed."""


def find_stripe_cli() -> Path:
    """Return the native binary that npm installed for this platform.

    Raises:
        CliMissing: there is none.
    """
    found = sorted((HERE / "node_modules" / "@stripe").glob("cli-*/bin/stripe"))
    if not found:
        raise CliMissing(f"Stripe's CLI is not in {HERE / 'node_modules'}: run `make setup-dev`")
    return found[0]


@dataclass(frozen=True)
class StripeCli:
    """Stripe's CLI, pointed at ``base_url``; it can reach nothing else."""

    base_url: str
    home: Path
    api_key: str = API_KEY

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run one command and return it, whatever its outcome."""
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "STRIPE_CLI_TELEMETRY_OPTOUT": "1",
            # The CLI looks for newer versions of itself. A dead proxy keeps it on this machine (Go never
            # sends loopback addresses to a proxy).
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "HTTP_PROXY": "http://127.0.0.1:9",
        }
        return subprocess.run(
            [str(find_stripe_cli()), *arguments, "--color", "off"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def trigger(self, event: str, *overrides: str) -> str:
        """Run ``stripe trigger EVENT`` and return what it printed.

        ``overrides`` are further arguments such as ``--override`` and ``customer:name=Ada``.

        Raises:
            TriggerFailed: a request of its fixture was refused.
        """
        done = self.run("trigger", event, "--api-base", self.base_url, "--api-key", self.api_key, *overrides)
        printed = done.stdout + done.stderr
        if done.returncode != 0 or "Trigger succeeded!" not in printed:
            raise TriggerFailed(f"stripe trigger {event} ended with {done.returncode}:\n{printed}")
        return printed
