"""The broker in a folder: a reader that looks at any moment finds whole messages or none."""

from __future__ import annotations

import threading
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from billing_worker import file_broker
from billing_worker.env import load_environment
from billing_worker.settings.queue import build_broker


@pytest.fixture
def connection(tmp_path: Path):
    env = load_environment({"STRIPE_WEBHOOK_SECRET": "whsec_x", "VAR_DIR": str(tmp_path)})
    url, options = build_broker(env)
    with Connection(url, transport_options=options) as made:
        yield made


def test_it_is_the_one_that_the_settings_name(connection: Connection) -> None:
    assert isinstance(connection.transport, file_broker.Transport)


def test_messages_come_whole_and_in_order(connection: Connection) -> None:
    with connection.SimpleQueue("work") as queue:
        for number in range(3):
            queue.put({"number": number})
        received = [queue.get(timeout=10) for _ in range(3)]
    assert [message.payload["number"] for message in received] == [0, 1, 2]


def test_a_message_that_is_being_written_is_not_there_yet(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks while the file exists and nothing is in it: where Kombu's own worker ends."""
    reader: Any = connection.clone().channel()
    looked: list[str] = []
    write_text = Path.write_text

    def write_slowly(path: Path, text: str, **options: Any) -> int:
        path.touch()
        with pytest.raises(Empty):
            reader._get("work")
        looked.append(path.name)
        return write_text(path, text, **options)

    writer: Any = connection.channel()
    monkeypatch.setattr(Path, "write_text", write_slowly)
    writer._put("work", {"number": 1})
    assert len(looked) == 1
    assert reader._get("work") == {"number": 1}
    assert list((tmp_path / "broker" / "messages").iterdir()) == []


def test_queues_that_are_bound_at_once_are_all_kept(connection: Connection) -> None:
    def bind(number: int) -> None:
        with connection.clone() as own:
            queue = Queue(f"queue-{number}", Exchange("events", "direct"), routing_key=f"key-{number}")
            queue(own.channel()).declare()

    threads = [threading.Thread(target=bind, args=[number]) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    channel: Any = connection.channel()
    table = channel.get_table("events")
    assert {entry.queue for entry in table} == {f"queue-{number}" for number in range(12)}
