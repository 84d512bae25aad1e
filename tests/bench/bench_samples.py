"""How fast samples are rolled up. `python -m tests.bench.bench_samples [rows...]` prints figures.

Ticks of a minute from 112 accounts, in the order in which they come: one in sixty reaches into the next hour. The
rows are made by the database itself; each roll-up is a process of its own, so that its peak memory is its own. Times
on the clock suffer from whatever else the machine does; the CPU time of process and database together does not.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.mariadb import MariaDB
from tests.support.processes import PYTHON, ROOT

ACCOUNTS = 112
#: What a roll-up process is given: a million, and a month of every account's minutes.
ROWS = (1_000_000, 5_000_000)
NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
BATCH = 1_000
_SAMPLES = """
    INSERT INTO metering_usagesample
        (id, event_id, feed_id, hour, units, at, interval_ms, memory_mb, milli_cpus)
    SELECT 1000 + seq, CONCAT('tick-', seq), {first} + seq MOD {accounts}, seq DIV {accounts} DIV 60,
        (CASE WHEN seq DIV {accounts} MOD 60 = 59 THEN 30000 ELSE 60000 END) * (128 + seq MOD 1000),
        TIMESTAMPADD(SECOND, seq DIV {accounts} * 60 + 30, '2026-10-01'), 60000, 128 + seq MOD 1000, 0
    FROM seq_0_to_{last}
"""
_SPILLS = """
    INSERT INTO metering_samplespill (id, feed_id, hour, units)
    SELECT (1000 + seq) * 32 + 1, {first} + seq MOD {accounts}, seq DIV {accounts} DIV 60 + 1,
        30000 * (128 + seq MOD 1000)
    FROM seq_0_to_{last} WHERE seq DIV {accounts} MOD 60 = 59 AND seq DIV {accounts} DIV 60 < 743
"""


def prepare() -> None:
    """Tables, accounts with customers and leases, and a sampled meter."""
    from django.core.management import call_command

    from billing_worker.accounts.models import Account
    from tests.factories import BillingLeaseFactory, CustomerAccountFactory
    from tests.metering.factories import make_sampled_meter, put_on_tier

    call_command("migrate", "auth", verbosity=0, interactive=False)
    call_command("migrate", verbosity=0, run_syncdb=True, interactive=False)
    Account.objects.bulk_create(CustomerAccountFactory.build_batch(ACCOUNTS))
    make_sampled_meter()
    for account in Account.objects.order_by("pk"):
        put_on_tier(account.pk, "pro")
        BillingLeaseFactory.create(account=account)


def fill(rows: int) -> None:
    """Samples that wait for the roll-up, as their ingestion leaves them."""
    from django.db import connection

    from billing_worker.accounts.models import Account
    from billing_worker.catalog.models import SampledTier
    from metering.models import SampleBatch, SampleFeed

    started = time.perf_counter()
    tier = SampledTier.objects.get(name="pro")
    SampleFeed.objects.bulk_create(
        [
            SampleFeed(account=account, tier=tier, period="2026-10")
            for account in Account.objects.order_by("pk")
        ]
    )
    first = SampleFeed.objects.order_by("pk").values_list("pk", flat=True)[0]
    SampleBatch.objects.bulk_create(
        [SampleBatch(pk=1 + number, received_at=NOW, samples=BATCH) for number in range(rows // BATCH)],
        batch_size=1_000,
    )
    with connection.cursor() as cursor:
        for statement in (_SAMPLES, _SPILLS):
            cursor.execute(statement.format(first=first, accounts=ACCOUNTS, last=rows - 1))
    print(f"filled   {rows:>10,} samples in {time.perf_counter() - started:.0f} s")


def roll_up() -> None:
    """Fold and close everything that waits; check the sum, and say how it went."""
    from django.db.models import Sum

    from metering.models import MeterEvent, SampleFeed
    from metering.samples.roll_up import roll_up_samples
    from metering.services.seam import Seam

    before, server = peak(), read_server_seconds()
    own = time.process_time()
    samples = events = 0
    folded_at = started = time.perf_counter()
    for part in roll_up_samples(now=NOW, grace=timedelta(hours=1), seam=Seam(shadow=False)):
        samples, events = samples + part.samples, events + part.events
        if part.samples:
            folded_at = time.perf_counter()
    seconds, folding = time.perf_counter() - started, folded_at - started
    billed = SampleFeed.objects.aggregate(total=Sum("billed"))["total"]
    assert billed == MeterEvent.objects.aggregate(total=Sum("value"))["total"]
    print(
        f"roll-up  {samples:>10,} samples in {seconds:.1f} s: {seconds * 1e6 / samples:.1f} s a million"
        f" ({folding:.1f} s folding, {seconds - folding:.1f} s closing into {events:,} events);"
        f" CPU {time.process_time() - own:.1f} s here and {read_server_seconds() - server:.1f} s in the database;"
        f" peak {peak():.0f} MB, {peak() - before:.0f} MB over the start"
    )


def read_server_seconds() -> float:
    """CPU seconds that the database has spent so far, all of its threads."""
    fields = Path(f"/proc/{os.environ['BENCH_SERVER']}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak() -> float:
    """The most memory that this process ever held, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(arguments: list[str]) -> None:
    if arguments and not arguments[0].isdigit():
        import django

        django.setup()
        if arguments[0] == "fill":
            fill(int(arguments[1]))
        else:
            {"prepare": prepare, "roll_up": roll_up}[arguments[0]]()
        return
    with tempfile.TemporaryDirectory(prefix="bench-samples-") as name, MariaDB(Path(name)) as server:
        for rows in [int(text) for text in arguments] or ROWS:
            environment = {
                **{key: value for key, value in os.environ.items() if key != "VAR_DIR"},
                "DJANGO_SETTINGS_MODULE": "tests.metering.process_settings",
                "BENCH_SERVER": str(server.server.pid),
                "TEST_DATABASE_URL": server.create_database(f"bench_{rows}"),
            }
            for step in (["prepare"], ["fill", str(rows)], ["roll_up"]):
                subprocess.run(
                    [PYTHON, "-m", "tests.bench.bench_samples", *step], cwd=ROOT, env=environment, check=True
                )


if __name__ == "__main__":
    main(sys.argv[1:])
