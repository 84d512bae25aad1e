"""Starting and driving a real sandbox process from tests."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import stripe

ROOT = Path(__file__).resolve().parents[2]
API_KEY = "sk_test_sandbox"
START_TIMEOUT = 20.0


@dataclass
class Answer:
    """A raw HTTP answer."""

    status: int
    headers: dict[str, str]
    body: Any
    raw: bytes = b""


@dataclass
class SandboxProcess:
    """A running sandbox, its address, and an SDK client that speaks to it without retries."""

    process: subprocess.Popen[str]
    url: str
    arguments: list[str] = field(default_factory=list)
    client: stripe.StripeClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = stripe.StripeClient(API_KEY, base_addresses={"api": self.url}, max_network_retries=0)

    @classmethod
    def start(cls, *arguments: str) -> Self:
        """Start a sandbox on a free port and return when it answers.

        Raises:
            RuntimeError: it ended or stayed silent; the message holds what it printed.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--port", "0", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=None,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if "listening on " not in line:
            process.kill()
            raise RuntimeError(f"the sandbox did not start: {line!r}")
        started = cls(process, line.strip().rpartition(" ")[2], list(arguments))
        started.wait_for(lambda: started.request("GET", "/_sandbox/health").status == 200, START_TIMEOUT)
        return started

    def kill(self) -> None:
        """End the process as a power cut would."""
        self.process.kill()
        self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def reset(self) -> None:
        """Forget all state and faults."""
        assert self.request("POST", "/_sandbox/reset").status == 200

    def request(
        self,
        method: str,
        path: str,
        data: dict[str, Any] | str | None = None,
        *,
        json_body: Any = None,
        headers: dict[str, str] | None = None,
        key: str | None = API_KEY,
        timeout: float = 15,
    ) -> Answer:
        """Make one raw request. ``data`` is sent as a form: a dict of flat ``a[b]`` names, or the encoded text."""
        sent = dict(headers or {})
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {key}")
        body: bytes | None = None
        if json_body is not None:
            body = json.dumps(json_body).encode()
            sent["Content-Type"] = "application/json"
        elif data is not None:
            body = (data if isinstance(data, str) else urllib.parse.urlencode(data)).encode()
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        request = urllib.request.Request(self.url + path, data=body, headers=sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return _answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.headers, error.read())

    def fault(self, **rule: Any) -> dict[str, Any]:
        """Add a fault rule."""
        answer = self.request("POST", "/_sandbox/faults", json_body=rule)
        assert answer.status == 200, answer.body
        added: dict[str, Any] = answer.body
        return added

    def events(self, *types: str) -> list[stripe.Event]:
        """Return every recorded event, oldest first; ``types`` filter."""
        found = list(self.client.v1.events.list({"limit": 100}).auto_paging_iter())[::-1]
        return [event for event in found if not types or event.type in types]

    def event_types(self) -> list[str]:
        """Return the types of all recorded events, oldest first."""
        return [event.type for event in self.events()]

    def deliveries(self, **filters: str) -> list[dict[str, Any]]:
        """Return the delivery log, newest first."""
        data: list[dict[str, Any]] = self.request(
            "GET", "/_sandbox/deliveries?" + urllib.parse.urlencode(filters)
        ).body["data"]
        return data

    @staticmethod
    def wait_for(condition: Any, timeout: float = 60.0, what: str = "the condition") -> Any:
        """Poll until ``condition()`` is truthy and return its value; fail after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come about within {timeout} s")
            time.sleep(0.02)


def _answer(status: int, headers: Any, raw: bytes) -> Answer:
    text = raw.decode()
    return Answer(
        status=status,
        headers={name.lower(): value for name, value in headers.items()},
        body=json.loads(text) if text.startswith(("{", "[")) else text,
        raw=raw,
    )
