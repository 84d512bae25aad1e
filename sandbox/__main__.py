"""``python -m sandbox``: serve the stand-in until interrupted."""

from __future__ import annotations

import argparse
import gc
import logging
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from sandbox.engine.app import SandboxApp
from sandbox.engine.core import Engine
from sandbox.engine.routing import describe_operations
from sandbox.engine.server import DroppableProtocol
from sandbox.engine.store import StateRefused
from sandbox.engine.webhooks import RetrySchedule

DEFAULT_STATE = Path("var/sandbox/state.sqlite3")


def main(argv: list[str] | None = None) -> int:
    """Run the sandbox. Returns the process's exit code; 2 for a refused start."""
    options = _parse(argv)
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    import sandbox.resources  # noqa: F401  registers the operations

    if options.operations:
        print("\n".join(describe_operations()))
        return 0
    try:
        listener = _listen(options.host, options.port)
    except OSError as error:
        print(
            f"The sandbox cannot listen on {options.host}:{options.port}: {error.strerror}. "
            "Stop what listens there or choose another --port.",
            file=sys.stderr,
        )
        return 2
    try:
        engine = Engine(None if options.memory else options.state, retry_schedule=options.webhook_retries)
    except StateRefused as error:
        print(f"{error}: choose another --state.", file=sys.stderr)
        return 2
    if options.forward_to:
        engine.forward_to(options.forward_to, options.webhook_secret, options.forward_events)
    port = listener.getsockname()[1]
    print(f"Sandbox listening on http://{options.host}:{port}", flush=True)
    _serve(engine, listener)
    return 0


def _serve(engine: Engine, listener: socket.socket) -> None:
    # What was loaded so far lives as long as the process: keep the collector from walking it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    config = uvicorn.Config(
        SandboxApp(engine),
        http=DroppableProtocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox", description="A stand-in for Stripe on loopback."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=12111, help="0 picks a free one and prints it")
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, help="SQLite file that keeps the state")
    parser.add_argument("--memory", action="store_true", help="keep the state in memory only")
    parser.add_argument("--forward-to", metavar="URL", help="register a webhook endpoint at this address")
    parser.add_argument(
        "--webhook-secret", metavar="WHSEC", help="the secret of that endpoint (default: made up)"
    )
    parser.add_argument(
        "--forward-events", default="*", help="comma-separated event types for --forward-to (default: all)"
    )
    parser.add_argument(
        "--webhook-retries",
        type=_schedule,
        default=RetrySchedule(),
        metavar="SECONDS,SECONDS",
        help="pauses between delivery attempts; as many retries as there are pauses",
    )
    parser.add_argument(
        "--operations", action="store_true", help="print the README's table of operations and end"
    )
    parser.add_argument("--log-level", default="warning", choices=("debug", "info", "warning", "error"))
    return parser.parse_args(argv)


def _schedule(text: str) -> RetrySchedule:
    delays = tuple(float(part) for part in text.split(",") if part.strip())
    if any(delay < 0 for delay in delays):
        raise argparse.ArgumentTypeError("pauses cannot be negative")
    return RetrySchedule(delays)


if __name__ == "__main__":
    sys.exit(main())
