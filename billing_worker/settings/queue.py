"""The broker: Redis or RabbitMQ by address, else a folder that needs no server."""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES

from billing_worker.env import Environment

#: Kombu's own lets a worker read a message that is not written yet, and end of it.
TRANSPORT_ALIASES["filesystem"] = "billing_worker.file_broker:Transport"


def build_broker(env: Environment) -> tuple[str, dict[str, Any]]:
    if env.CELERY_BROKER_URL:
        return env.CELERY_BROKER_URL, {}
    folder = env.VAR_DIR / "broker"
    for name in ("messages", "processed", "control"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return "filesystem://", {
        "data_folder_in": str(folder / "messages"),
        "data_folder_out": str(folder / "messages"),
        "processed_folder": str(folder / "processed"),
        "control_folder": str(folder / "control"),
        "store_processed": False,
        "polling_interval": 0.05,
    }
