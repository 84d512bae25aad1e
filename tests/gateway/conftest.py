"""The gateway pointed at a real sandbox process, or at a server that answers what a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.sandbox import SandboxServer


@pytest.fixture
def sandbox(sandbox_server: SandboxServer, settings: Any) -> SandboxServer:
    """An empty sandbox that the gateway talks to."""
    sandbox_server.reset()
    settings.ENV = settings.ENV.model_copy(update={"STRIPE_API_BASE": sandbox_server.url})
    return sandbox_server


class CannedStripe:
    """A loopback HTTP server: `answers` are given in turn (the last one again and again), `requests` are kept."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, Any] | bytes]] = []
        self.requests: list[tuple[str, str, dict[str, str], str]] = []
        canned = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length).decode()
                canned.requests.append((self.command, self.path, dict(self.headers), body))
                status, content = canned.answers[0] if len(canned.answers) == 1 else canned.answers.pop(0)
                if status == 0:
                    self.close_connection = True
                    return
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Request-Id", "req_canned")
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - http.server's names

            def log_message(self, *args: Any) -> None:
                """Tests read `requests`."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def canned(settings: Any) -> Iterator[CannedStripe]:
    """A Stripe that answers what the test tells it to."""
    server = CannedStripe()
    settings.ENV = settings.ENV.model_copy(
        update={"STRIPE_API_BASE": server.url, "STRIPE_TIMEOUT_SECONDS": 1}
    )
    yield server
    server.close()
