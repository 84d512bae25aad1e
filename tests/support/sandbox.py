"""The sandbox (the stand-in for Stripe) as a process of its own."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.processes import PYTHON, ServerProcess, find_free_port


class SandboxServer(ServerProcess):
    """`python -m sandbox` on a free port; its state outlives `kill()` and `stop()`, so `start()` resumes it."""

    def __init__(self, folder: Path, *, port: int | None = None, arguments: Sequence[str] = ()) -> None:
        self.port = port or find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.state = folder / "sandbox.sqlite3"
        super().__init__(
            [PYTHON, "-m", "sandbox", "--port", str(self.port), "--state", self.state, *arguments],
            is_ready=self._answers,
            log=folder / "sandbox.log",
        )

    def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call the control plane (`/_sandbox/...`) and return its decoded answer.

        Raises:
            RuntimeError: it answered with an error status.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {content.decode(errors='replace')}")
        return json.loads(content) if content else None

    def reset(self) -> None:
        """Forget every object, fault and delivery."""
        self.control("POST", "/_sandbox/reset")

    def _answers(self) -> bool:
        try:
            self.control("GET", "/_sandbox/health")
        except (OSError, http.client.HTTPException, RuntimeError):
            return False
        return True
