"""How fast usage comes in and meter events go out. `python -m tests.bench.bench_metering` prints figures.

(a) `POST /usage` over HTTP in batches of 1,000 on a private MariaDB, beside raw multi-row INSERTs of as many rows. They
    take turns, in rounds, on tables that grow alike; medians are told, as other work disturbs single rounds.
(c) The sender against a stub that answers at once, one event in a call as v1 and a hundred as v2: what one process
    spends on its own work.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.support.mariadb import MariaDB
from tests.support.processes import PYTHON, ROOT, ServerProcess, accepts_connections, find_free_port

ACCOUNTS = 500
RECORDS = 46_500  # 500 accounts x 31 days x 3 types
BATCH = 1_000
CLIENTS = 2
#: Months of 31 days, one for each round.
ROUNDS = ("2026-01", "2026-03", "2026-05", "2026-07", "2026-08")
#: Whose events the sender tells: 9,300 by each transport.
SENDERS_ACCOUNTS = {"v1": range(5001, 5101), "v2": range(5101, 5201)}


def make_batches(period: str = "2026-10") -> list[list[dict[str, Any]]]:
    records: list[dict[str, Any]] = [
        {"account_id": 5001 + n, "period": f"{period}-{day:02}", "usage_type": kind, "quantity": n * day}
        for n in range(ACCOUNTS)
        for day in range(1, 32)
        for kind in ("ST", "RM", "CV")
    ]
    return [records[at : at + BATCH] for at in range(0, len(records), BATCH)]


def post_all(port: int, key: str, batches: list[bytes]) -> float:
    """Seconds that `CLIENTS` keep-alive connections take to post every batch; each must answer 200."""
    queue = list(reversed(batches))
    problems: list[bytes] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Authorization": f"Api-Key {key}", "Content-Type": "application/json"}
        while True:
            try:
                body = queue.pop()
            except IndexError:
                return
            connection.request("POST", "/usage", body, headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                problems.append(content[:200])

    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise SystemExit(f"{len(problems)} batches were not taken, first: {problems[0]!r}")
    return time.perf_counter() - started


def warm_up(port: int) -> None:
    """Both workers import the application at their first request, which is not what is measured."""
    for _ in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        connection.close()


def bench_ingest(folder: Path, environment: dict[str, str]) -> None:
    prepared = subprocess.run(
        [PYTHON, "-m", "tests.bench.bench_metering", "prepare"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    key = prepared.stdout.splitlines()[-1]
    port = find_free_port()
    command: list[str | Path] = [
        PYTHON,
        "-m",
        "gunicorn",
        "billing_worker.wsgi",
        "--bind",
        f"127.0.0.1:{port}",
        "--workers",
        "2",
    ]
    with (
        ServerProcess(
            command, is_ready=lambda: accepts_connections(port), log=folder / "web.log", env=environment
        ),
        subprocess.Popen(
            [PYTHON, "-m", "tests.bench.bench_metering", "raw"],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as raw,
    ):  # fmt: skip
        warm_up(port)
        assert raw.stdin
        assert raw.stdout
        rounds = []
        for period in ROUNDS:
            bodies = [json.dumps({"records": batch}).encode() for batch in make_batches(period)]
            taken = RECORDS / post_all(port, key, bodies)
            print(period, file=raw.stdin, flush=True)
            rounds.append((taken, float(raw.stdout.readline())))
        raw.stdin.close()
    through_http, inserted = (statistics.median(column) for column in zip(*rounds, strict=True))
    share = statistics.median(taken / put for taken, put in rounds)
    each = ", ".join(f"{taken / put:.0%}" for taken, put in rounds)
    print(f"ingest   {through_http:>10,.0f} records/s over HTTP, two workers, batches of {BATCH:,}")
    print(f"raw      {inserted:>10,.0f} rows/s in multi-row INSERTs; share {share:.0%} (rounds: {each})")


def prepare() -> str:
    """Tables and accounts; returns a service key."""
    from django.core.management import call_command

    from billing_worker.accounts.models import Account
    from tests.factories import CustomerAccountFactory, make_service_key

    call_command("migrate", "auth", verbosity=0, interactive=False)
    call_command("migrate", verbosity=0, run_syncdb=True, interactive=False)
    Account.objects.bulk_create(CustomerAccountFactory.build_batch(ACCOUNTS))
    for number, account in enumerate(Account.objects.order_by("pk")):
        assert account.pk == 5001 + number
    return make_service_key()


def insert_raw() -> None:
    """For each month on standard input: rows a second that one connection puts into a copy of the table."""
    from django.db import connection

    from metering.services.ingest import _INSERT

    into = _INSERT.replace("metering_usagerecord", "raw_usage")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE raw_usage LIKE metering_usagerecord")
        for line in sys.stdin:
            batches = make_batches(line.strip())
            started = time.perf_counter()
            for batch in batches:
                rows = [
                    (
                        r["account_id"],
                        r["period"],
                        r["usage_type"],
                        0,
                        r["quantity"],
                        r["quantity"],
                        "",
                        "bench",
                        "2026-11-03 12:00:00",
                    )
                    for r in batch
                ]
                cursor.executemany(into + " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)", rows)
            print(RECORDS / (time.perf_counter() - started), flush=True)


def send_to_stub() -> None:
    """The whole path of the sender, database included, with a Stripe that costs nothing."""
    from billing_worker.accounts.models import Account
    from metering.models import MeterEvent
    from metering.parsing import parse_record
    from metering.services.ingest import store_usage
    from metering.services.roll_up import roll_up_usage
    from metering.services.seam import Seam
    from metering.services.sending import SenderOptions, drain_meter_events
    from tests.factories import BillingLeaseFactory
    from tests.metering.factories import FakeStripe

    now = datetime(2026, 11, 3, 12, tzinfo=UTC)
    for transport, accounts in SENDERS_ACCOUNTS.items():
        for number in accounts:
            BillingLeaseFactory.create(account=Account.objects.get(pk=number))
        for batch in make_batches():
            wanted = [parse_record(r, today=now.date()) for r in batch if r["account_id"] in accounts]
            store_usage(records=wanted, author="bench", now=now)
        started = time.perf_counter()
        for _ in roll_up_usage(now=now, grace=timedelta(hours=1), seam=Seam(shadow=False)):
            pass
        events = MeterEvent.objects.filter(sent_at__isnull=True).count()
        rolled = time.perf_counter() - started
        started, spent = time.perf_counter(), time.process_time()
        options = SenderOptions(per_second=Decimal(10**9))
        stub = FakeStripe(batch=100 if transport == "v2" else 1)
        drained = drain_meter_events(port=stub, seam=Seam(shadow=False), options=options, clock=lambda: now)
        sent = sum(result.reported for result in drained)
        seconds, spent = time.perf_counter() - started, time.process_time() - spent
        assert sent == events, (sent, events)
        print(f"roll-up  {events / rolled:>10,.0f} events/s ({events:,} events)")
        print(
            f"{transport}       {sent / seconds:>10,.0f} events/s from one process to a stub;"
            f" {sent / spent:,.0f} for each second of its own CPU time"
        )


def main(arguments: list[str]) -> None:
    if arguments:
        import django

        django.setup()
        steps: dict[str, Callable[[], str | None]] = {
            "prepare": prepare,
            "raw": insert_raw,
            "stub": send_to_stub,
        }
        work = steps[arguments[0]]
        answer = work()
        if answer is not None:
            print(answer)
        return
    with tempfile.TemporaryDirectory(prefix="bench-metering-") as name, MariaDB(Path(name)) as server:
        environment = {
            **{k: v for k, v in os.environ.items() if k != "VAR_DIR"},
            "DJANGO_SETTINGS_MODULE": "tests.metering.process_settings",
            "TEST_DATABASE_URL": server.create_database("bench"),
        }
        bench_ingest(Path(name), environment)
        sys.stdout.flush()
        environment["TEST_DATABASE_URL"] = server.create_database("bench_stub")
        for step in ("prepare", "stub"):
            subprocess.run(
                [PYTHON, "-m", "tests.bench.bench_metering", step],
                cwd=ROOT, env=environment, check=True, stdout=None if step == "stub" else subprocess.DEVNULL,
            )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
