"""Celery's broker in a folder, without Kombu's races: nobody ever sees half a file.

Kombu's own file system transport opens a message's file under its final name and writes it then. A worker that looks in
between takes an empty message, and ends. Its table of queues has the same gap. Here both are written aside and moved
into place, which is atomic within a folder.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    """Kombu's channel with whole files only."""

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]
        # The order of names is the order of delivery; what ends in `.part` belongs to no queue.
        name = f"{time.monotonic_ns():020d}_{uuid.uuid4()}.{queue}.msg"
        _write_whole(Path(self.data_folder_out) / name, dumps(payload))

    def _queue_bind(  # type: ignore[override]
        self, exchange: str, routing_key: str | None, pattern: str, queue: str
    ) -> None:
        file: Path = self._exchange_file(exchange)  # type: ignore[attr-defined]
        self.control_folder.mkdir(exist_ok=True)
        binding = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        with _locked(self.control_folder / "bindings.lock"):
            bindings = self.get_table(exchange)
            if binding not in bindings:
                _write_whole(file, dumps([binding, *bindings]))


class Transport(filesystem.Transport):
    """The `filesystem://` that our settings name (`billing_worker.settings.queue`)."""

    Channel = Channel


def _write_whole(file: Path, text: str) -> None:
    part = file.with_name(f"{file.name}.{os.getpid()}.{uuid.uuid4().hex}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
