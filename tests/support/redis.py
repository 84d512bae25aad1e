"""A private Redis on a free port."""

from __future__ import annotations

from pathlib import Path

from tests.support.processes import ServerProcess, accepts_connections, find_free_port, find_program


class Redis(ServerProcess):
    """One server without persistence; `url` is what `CELERY_BROKER_URL` takes."""

    def __init__(self, folder: Path) -> None:
        self.port = find_free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        super().__init__(
            [
                find_program("redis-server", package="redis-server"),
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", folder),
                *("--save", "", "--appendonly", "no"),
            ],
            is_ready=lambda: accepts_connections(self.port),
            log=folder / "redis.log",
        )
