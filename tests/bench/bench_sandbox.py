"""How many simple writes a second the sandbox takes, beside the same server answering a constant.

    python -m tests.bench.bench_sandbox [--seconds 4] [--connections 16]

The aim is 1,000 writes a second on one core. The bare application, measured in the same run on the same machine,
says how much of the distance is HTTP and how much is the sandbox.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from tests.sandbox.process import API_KEY, ROOT, SandboxProcess

AIM = 1_000
BARE = b'{"id": "cus_00000000000000", "object": "customer"' + b" " * 700 + b"}"


async def bare_app(scope, receive, send) -> None:
    """Read the body, answer a constant."""
    if scope["type"] != "http":
        return
    await receive()
    length = str(len(BARE)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BARE})


def serve_bare() -> None:
    """Serve the bare application on a free port; run in a process of its own."""
    import socket

    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        bare_app, loop="uvloop", http="httptools", lifespan="off", access_log=False, log_config=None
    )
    uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def bare_server() -> Iterator[str]:
    """Run the bare application and give its address."""
    code = "from tests.bench.bench_sandbox import serve_bare; serve_bare()"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip().rpartition(" ")[2]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def encode_request(path: str, form: dict[str, str], key: str | None = None) -> bytes:
    """Return a whole HTTP request."""
    body = urllib.parse.urlencode(form).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {API_KEY}",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(body)}",
    ]
    if key is not None:
        lines.append(f"Idempotency-Key: {key}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _connection(host: str, port: int, until: float, requests: Callable[[], bytes]) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    done = 0
    while time.perf_counter() < until:
        writer.write(requests())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        done += 1
    writer.close()
    return done


def measure(url: str, requests: Callable[[], bytes], seconds: float, connections: int) -> float:
    """Return requests per second over keep-alive connections."""
    parts = urllib.parse.urlsplit(url)

    async def run() -> float:
        started = time.perf_counter()
        until = started + seconds
        counts = await asyncio.gather(
            *(
                _connection(str(parts.hostname), int(parts.port or 80), until, requests)
                for _ in range(connections)
            )
        )
        return sum(counts) / (time.perf_counter() - started)

    return asyncio.run(run())


def measure_sdk(sandbox: SandboxProcess, seconds: float) -> float:
    """Return writes per second of one SDK client, one after the other."""
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        sandbox.client.v1.customers.create({"email": "ada@example.com", "metadata": {"account": "7"}})
        done += 1
    return done / (time.perf_counter() - started)


def _report(label: str, rate: float, bare: float) -> None:
    print(
        f"{label:<46} {rate:>8,.0f}/s   {rate / AIM:>6.2f} of the aim   {rate / bare:>5.0%} of a bare answer"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    customer = encode_request("/v1/customers", {"email": "ada@example.com", "metadata[account]": "7"})
    with bare_server() as url:
        bare = measure(url, lambda: customer, options.seconds, options.connections)
    _report("a bare application answering a constant", bare, bare)

    counter = iter(range(10**9))

    def with_key() -> bytes:
        return encode_request("/v1/customers", {"email": "ada@example.com"}, f"bench-{next(counter)}")

    with tempfile.TemporaryDirectory() as folder:
        sandbox = SandboxProcess.start("--state", str(Path(folder) / "state.sqlite3"))
        try:
            _report(
                "customers, raw HTTP",
                measure(sandbox.url, lambda: customer, options.seconds, options.connections),
                bare,
            )
            _report(
                "customers with idempotency keys, raw HTTP",
                measure(sandbox.url, with_key, options.seconds, options.connections),
                bare,
            )
            _measure_meter_events(sandbox, options, bare)
            _report("customers, one SDK client in sequence", measure_sdk(sandbox, options.seconds), bare)
        finally:
            sandbox.kill()


def _measure_meter_events(sandbox: SandboxProcess, options: argparse.Namespace, bare: float) -> None:
    meter = sandbox.client.v1.billing.meters.create(
        {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    )
    customers = [sandbox.client.v1.customers.create().id for _ in range(50)]
    counter = iter(range(10**9))

    def event() -> bytes:
        number = next(counter)
        form = {
            "event_name": meter.event_name,
            "identifier": f"bench-{number}",
            "payload[stripe_customer_id]": customers[number % len(customers)],
            "payload[value]": "3",
        }
        return encode_request("/v1/billing/meter_events", form)

    rate = measure(sandbox.url, event, options.seconds, options.connections)
    _report("meter events, raw HTTP", rate, bare)


if __name__ == "__main__":
    main()
