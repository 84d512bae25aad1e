"""A small asynchronous HTTP/1.1 POST for webhook deliveries: one connection per attempt, no redirects."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

import h11

MAX_ANSWER = 64 * 1024


class DeliveryFailed(Exception):
    """No HTTP answer was had: refused, timed out, or not HTTP. The attempt counts as failed and is retried."""


async def post(url: str, body: bytes, headers: dict[str, str], *, timeout: float) -> tuple[int, str]:
    """POST ``body`` and return the answer's status and text (at most 64 KiB of it).

    Raises:
        DeliveryFailed: there was no complete HTTP answer within ``timeout`` seconds.
    """
    try:
        async with asyncio.timeout(timeout):
            return await _exchange(url, body, headers)
    except TimeoutError as error:
        raise DeliveryFailed(f"no answer within {timeout:g} s") from error
    except (OSError, ValueError, h11.ProtocolError, ssl.SSLError) as error:
        raise DeliveryFailed(f"{type(error).__name__}: {error}") from error


async def _exchange(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(
        parts.hostname, port, ssl=ssl.create_default_context() if secure else None
    )
    try:
        connection = h11.Connection(h11.CLIENT)
        request = h11.Request(
            method="POST",
            target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            headers=[
                ("Host", parts.netloc.rpartition("@")[2]),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
                *headers.items(),
            ],
        )
        writer.write(
            b"".join(connection.send(event) or b"" for event in (request, h11.Data(body), h11.EndOfMessage()))
        )
        await writer.drain()
        return await _read_answer(connection, reader)
    finally:
        writer.close()


async def _read_answer(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, str]:
    status: int | None = None
    received = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(16 * 1024))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            received += event.data[: MAX_ANSWER - len(received)]
        elif isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
            break
        elif isinstance(event, h11.ConnectionClosed):
            raise DeliveryFailed("the connection closed before an answer")
    if status is None:
        raise DeliveryFailed("the connection closed before an answer")
    return status, received.decode("utf-8", "replace")
