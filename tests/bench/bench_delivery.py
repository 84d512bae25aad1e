"""Month end: from finalized webhooks to delivered mail. `python -m tests.bench.bench_delivery [--invoices 2000]`.

Everything is a real process on this machine: MariaDB (with a flush at each commit) and Redis, gunicorn for Stripe's and
Mailgun's webhooks, one Celery worker with two processes, and the sandbox as Stripe and as Mailgun. The invoices are
made by the sandbox from metered subscriptions; their `invoice.finalized` events are held back until all are there and
then delivered, signed, over eight connections. What is measured runs from the first delivery until Mailgun's tracking
webhook for the last mail is in the database.

Each stage's rate is invoices / minutes until the last of them was through that stage. The limit is what two processes
do that only render the same documents, before anything else; the sandbox and the sender take their share of the same
cores, which Stripe and Mailgun would not.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from tests.support.installation import Installation
from tests.support.mariadb import MariaDB
from tests.support.processes import (
    PYTHON,
    ROOT,
    ServerProcess,
    accepts_connections,
)
from tests.support.redis import Redis
from tests.support.sandbox import SandboxServer

AIM_PER_MINUTE = 500
SENDERS = 8
WORKERS = 2
RENDER_SECONDS = 8.0
SIGNING_KEY = "key-bench-tracking"
WEBHOOK_SECRET = "whsec_bench"
#: As in production: nothing that was committed is lost with the power.
DURABLE = (
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-doublewrite=1",
    "--innodb-buffer-pool-size=256M",
)
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class World:
    """What runs, under the names that the figures use."""

    installation: Installation
    sandbox: SandboxServer
    processes: dict[str, ServerProcess]
    probe: Path
    socket: Path

    def read_cpu(self) -> dict[str, float]:
        """CPU seconds so far by process, children included."""
        return {name: _read_group_cpu(server.pid) for name, server in self.processes.items()}


def _read_group_cpu(group: int) -> float:
    """CPU seconds of a process group, with what its leader's ended children took."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group:
            ticks += int(fields[11]) + int(fields[12])
            if int(path.parent.name) == group:
                ticks += int(fields[13]) + int(fields[14])
    return ticks / TICKS


@contextmanager
def start_world(folder: Path) -> Iterator[World]:
    """Servers, a laid database, web and worker; all ended afterwards."""
    database = MariaDB(folder / "mariadb")
    database.folder.mkdir()
    database.server.command += DURABLE
    probe = folder / "probe"
    probe.mkdir()
    with database, Redis(folder) as redis, SandboxServer(folder) as sandbox:
        installation = Installation(
            folder,
            stripe_url=sandbox.url,
            settings={
                "DJANGO_SETTINGS_MODULE": "tests.bench.delivery_settings",
                "DATABASE_URL": database.create_database("bench"),
                "CELERY_BROKER_URL": redis.url,
                "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
                "MAILGUN_API_KEY": "key-bench",
                "MAILGUN_DOMAIN": "mg.example.com",
                "MAILGUN_API_URL": f"{sandbox.url}/v3",
                "MAILGUN_WEBHOOK_SIGNING_KEY": SIGNING_KEY,
                "LOG_LEVEL": "WARNING",
                "PROBE_DIR": str(probe),
                "PYTHONWARNINGS": "ignore",
            },
        )
        installation.manage("migrate", "auth", "--verbosity", "0")
        installation.manage("migrate", "--run-syncdb", "--verbosity", "0")
        with _start_web(installation) as web, _start_worker(installation) as worker:
            processes = {
                "worker": worker,
                "web": web,
                "MariaDB": database.server,
                "Redis": redis,
                "sandbox": sandbox,
            }
            yield World(installation, sandbox, processes, probe, database.socket)


def _start_web(installation: Installation) -> ServerProcess:
    return ServerProcess(
        [PYTHON, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "tests.bench.delivery_probe:application"],
        env={
            **installation.environment,
            "PROBE_ROLE": "web",
            "WEB_BIND": f"127.0.0.1:{installation.port}",
            "WEB_CONCURRENCY": "2",
        },
        is_ready=lambda: accepts_connections(installation.port),
        log=installation.folder / "web.log",
    )


def _start_worker(installation: Installation) -> ServerProcess:
    log = installation.folder / "worker.log"
    return ServerProcess(
        [
            *(PYTHON, "-m", "celery", "-A", "tests.bench.delivery_probe", "worker", "--loglevel", "INFO"),
            *("--concurrency", str(WORKERS), "--without-gossip", "--without-mingle"),
        ],
        env={**installation.environment, "PROBE_ROLE": "worker"},
        is_ready=lambda: log.exists() and b" ready." in log.read_bytes(),
        log=log,
        start_timeout_seconds=60,
    )


def deliver(port: int, events: Sequence[dict[str, Any]]) -> float:
    """Post every event, signed, over kept connections; returns the seconds until the last 200.

    Raises:
        SystemExit: an event was not taken.
    """
    queue = list(reversed(events))
    problems: list[str] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while queue:
            try:
                body = json.dumps({"object": "event", **queue.pop()}).encode()
            except IndexError:
                return
            at = int(time.time())
            signature = hmac.new(WEBHOOK_SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256)
            headers = {
                "Content-Type": "application/json",
                "Stripe-Signature": f"t={at},v1={signature.hexdigest()}",
            }
            connection.request("POST", "/webhook/stripe", body, headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                problems.append(f"{answer.status} {content[:200]!r}")
                return

    threads = [Thread(target=work) for _ in range(SENDERS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise SystemExit(f"a webhook was not taken: {problems[0]}")
    return time.perf_counter() - started


def read_row(socket: Path, query: str) -> tuple[Any, ...]:
    import MySQLdb

    connection = MySQLdb.connect(unix_socket=str(socket), user="root", database="bench")
    try:
        cursor = connection.cursor()
        cursor.execute(query)
        row: tuple[Any, ...] = cursor.fetchone()
        return row
    finally:
        connection.close()


#: When the last invoice was through each stage, as seconds of the epoch (the server's zone is UTC).
LAST = """
SELECT UNIX_TIMESTAMP((SELECT MAX(processed_at) FROM webhooks_inboxevent)),
       UNIX_TIMESTAMP((SELECT MAX(stored_at) FROM invoices_invoicedocument)),
       UNIX_TIMESTAMP((SELECT MAX(sent_at) FROM invoices_invoicemail)),
       UNIX_TIMESTAMP((SELECT MAX(settled_at) FROM invoices_invoicemail))
"""
PROGRESS = """
SELECT (SELECT COUNT(*) FROM webhooks_inboxevent WHERE state = 'processed'),
       (SELECT COUNT(*) FROM invoices_invoicedocument WHERE state = 'stored'),
       (SELECT COUNT(*) FROM invoices_invoicemail WHERE sent_at IS NOT NULL),
       (SELECT COUNT(*) FROM invoices_invoicemail WHERE state = 'delivered'),
       (SELECT MAX(last_error) FROM webhooks_inboxevent)
"""
STUCK_AFTER_SECONDS = 30


def wait_for_mails(world: World, count: int) -> None:
    """Return when every mail is delivered.

    Raises:
        SystemExit: nothing moved for a while; says where it stands.
    """
    before, moved_at = None, time.monotonic()
    while True:
        progress = read_row(world.socket, PROGRESS)
        if progress[3] == count:
            return
        if progress != before:
            before, moved_at = progress, time.monotonic()
        elif time.monotonic() - moved_at > STUCK_AFTER_SECONDS:
            raise SystemExit(
                f"stuck: processed, stored, sent, delivered, last error: {progress}\n{world.processes['worker'].tail()}"
            )
        time.sleep(0.25)


def measure_limit(world: World) -> float:
    """Documents a minute that two processes render when they do nothing else."""
    command = [str(PYTHON), "-m", "tests.bench.bench_delivery", "--step", "render"]
    environment = {key: value for key, value in world.installation.environment.items() if key != "PROBE_ROLE"}
    running = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(WORKERS)
    ]
    return sum(float(process.communicate()[0].splitlines()[-1]) for process in running)


def render_only() -> float:
    """Documents a minute in this process, for some seconds after a warm-up."""
    from invoices.content import load_content
    from invoices.models import InvoiceDocument
    from invoices.rendering.pdf import render_pdf

    contents = [load_content(document.content) for document in InvoiceDocument.objects.all()[:200]]
    for content in contents[:5]:
        render_pdf(content)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < RENDER_SECONDS:
        render_pdf(contents[done % len(contents)])
        done += 1
    return done * 60 / (time.perf_counter() - started)


def run_step(world: World, *arguments: str) -> str:
    done = subprocess.run(
        [PYTHON, "-m", "tests.bench.bench_delivery", "--step", *arguments],
        cwd=ROOT, env=world.installation.environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def bench(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-delivery-") as name, start_world(Path(name)) as world:
        from tests.bench.delivery_probe import read_totals
        from tests.bench.delivery_world import make_invoices

        port = int(world.sandbox.port)
        tracking = {
            "url": f"{world.installation.url}/invoices/mailgun/tracking",
            "signing_key": SIGNING_KEY,
        }
        world.sandbox.control("POST", "/_sandbox/mailgun/tracking", tracking)
        started = time.perf_counter()
        prices = json.loads(run_step(world, "accounts", "--invoices", str(count)))
        events = make_invoices(port, count, prices)
        run_step(world, "customers", "--port", str(port))
        lines = events[0]["data"]["object"]["lines"]
        print(
            f"{count} invoices of {len(lines['data'])} lines, made in {time.perf_counter() - started:.0f} s; "
            f"load {os.getloadavg()[0]:.1f}"
        )
        _warm_up(world.installation.port)
        for path in world.probe.glob("*.json"):
            path.unlink()
        before, began, began_at = world.read_cpu(), time.perf_counter(), time.time()
        acknowledged = deliver(world.installation.port, events)
        wait_for_mails(world, count)
        seconds = time.perf_counter() - began
        used = {label: value - before[label] for label, value in world.read_cpu().items()}
        limit = measure_limit(world)
        _report(count, acknowledged, seconds, limit, _read_last(world, began_at))
        _report_cpu(count, used, read_totals(world.probe), seconds)


def _warm_up(port: int) -> None:
    """Both web processes import the application at their first request, which is not what is measured."""
    for _ in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        connection.close()


def _read_last(world: World, began_at: float) -> list[float]:
    return [float(value) - began_at for value in read_row(world.socket, LAST)]


def _report(count: int, acknowledged: float, seconds: float, limit: float, last: Sequence[float]) -> None:
    def line(stage: str, until: float) -> None:
        print(f"{stage:<26}{until:>9.1f} s{count * 60 / until:>12,.0f} a minute")

    line("webhooks acknowledged", acknowledged)
    for stage, until in zip(
        ("mirrored, built, checked", "rendered and stored", "handed to Mailgun", "delivery noted"),
        last,
        strict=True,
    ):
        line(stage, until)
    rate = count * 60 / seconds
    print(
        f"{'in total':<26}{seconds:>9.1f} s{rate:>12,.0f} a minute   aim {AIM_PER_MINUTE}: {rate / AIM_PER_MINUTE:.2f}"
    )
    print(
        f"{'limit, render only':<26}{'':>11}{limit:>12,.0f} a minute   share of the limit {rate / limit:.0%}"
    )


def _report_cpu(count: int, used: dict[str, float], totals: dict[str, list[float]], seconds: float) -> None:
    everything = sum(used.values())
    print(f"\nCPU: {everything:.0f} s in {seconds:.0f} s, {everything * 1000 / count:.0f} ms an invoice")
    for label, value in sorted(used.items(), key=lambda item: -item[1]):
        print(f"  {label:<26}{value * 1000 / count:>8.1f} ms{value / everything:>7.0%}")
    print("of worker and web, by stage, without what is inside another (wall beside it):")
    for stage, (calls, wall, cpu) in sorted(totals.items(), key=lambda item: -item[1][2]):
        print(
            f"  {stage:<26}{cpu * 1000 / count:>8.1f} ms{cpu / everything:>7.0%}{wall * 1000 / count:>10.1f} ms wall"
            f"{calls / count:>7.1f} calls"
        )
    rest = used["worker"] + used["web"] - sum(cpu for _, _, cpu in totals.values())
    print(f"  {'Celery, gunicorn, idling':<26}{rest * 1000 / count:>8.1f} ms{rest / everything:>7.0%}")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--invoices", type=int, default=2_000)
    parser.add_argument("--step", choices=("accounts", "customers", "render"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.step is None:
        bench(options.invoices)
        return
    import django

    django.setup()
    from tests.bench import delivery_world

    if options.step == "accounts":
        print(json.dumps(delivery_world.prepare_accounts(options.invoices)))
    elif options.step == "customers":
        delivery_world.link_customers(options.port)
    else:
        print(render_only())


if __name__ == "__main__":
    main(sys.argv[1:])
