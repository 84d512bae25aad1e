"""A webhook receiver on a free port, for tests of deliveries."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import stripe


@dataclass
class Received:
    """One request as it arrived."""

    headers: dict[str, str]
    body: bytes

    def event(self, secret: str) -> stripe.Event:
        """Return the event after the SDK verified its signature.

        Raises:
            stripe.SignatureVerificationError: it does not verify.
        """
        event: stripe.Event = stripe.Webhook.construct_event(
            self.body, self.headers["stripe-signature"], secret
        )
        return event


@dataclass
class Receiver:
    """Answers with the next of ``answers`` (then 200) and keeps what arrived."""

    received: list[Received] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    url: str = ""
    _server: Any = None

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(headers, body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *arguments: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?from=sandbox"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def types(self, secret: str) -> list[str]:
        """Return the types of the events in order of arrival."""
        return [received.event(secret).type for received in self.received]
