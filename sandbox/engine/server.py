"""uvicorn's HTTP protocol, with its transport in the scope so that a fault can close the connection unanswered."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class DroppableProtocol(HttpToolsProtocol):
    """Puts the transport into the scope as ``sandbox.transport``."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["sandbox.transport"] = self.transport  # type: ignore[typeddict-unknown-key]
