"""Workers die at any line, on the database of production: every invoice still gets one PDF and one mail."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from email import message_from_bytes
from pathlib import Path

import dj_database_url
import MySQLdb
import pytest

from tests.invoices.worker_process import INVOICES
from tests.support.mariadb import MariaDB
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow

WORKERS = 2
KILLS = 8
SECONDS = 300


def start(url: str, files: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        env={
            **os.environ,
            "TEST_DATABASE_URL": url,
            "FILES_DIR": str(files),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
        },
    )


@pytest.mark.timeout(480)
def test_three_hundred_invoices_arrive_once_each(mariadb_server: MariaDB, tmp_path: Path) -> None:
    url = mariadb_server.create_database("killed")
    for step in (["auth"], ["--run-syncdb"]):
        assert start(url, tmp_path, "manage.py", "migrate", *step, "--verbosity", "0").wait(120) == 0
    module = ("-m", "tests.invoices.worker_process")
    assert start(url, tmp_path, *module, "prepare").wait(120) == 0

    kills = run_and_kill(url, tmp_path, module)

    assert kills == KILLS
    check_rows(url)
    check_files(tmp_path)


def run_and_kill(url: str, files: Path, module: tuple[str, ...]) -> int:
    """Two workers at a time, one of them killed at a random moment and replaced, until all work is done."""
    chance = random.Random(20261101)
    workers = [start(url, files, *module, "work") for _ in range(WORKERS)]
    kills = 0
    next_kill = time.monotonic() + 4
    deadline = time.monotonic() + SECONDS
    try:
        while any(worker.poll() is None for worker in workers):
            assert time.monotonic() < deadline, "the workers did not finish"
            assert all(worker.poll() in (None, 0) for worker in workers), "a worker failed"
            running = [worker for worker in workers if worker.poll() is None]
            if kills < KILLS and len(running) == WORKERS and time.monotonic() > next_kill:
                victim = chance.choice(running)
                victim.kill()
                victim.wait()
                workers.remove(victim)
                workers.append(start(url, files, *module, "work"))
                kills += 1
                # Starting takes two seconds: the survivor works meanwhile, then both do for a random while.
                next_kill = time.monotonic() + chance.uniform(1.5, 4)
            time.sleep(0.02)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return kills


def check_rows(url: str) -> None:
    config = dj_database_url.parse(url)
    connection = MySQLdb.connect(unix_socket=config["HOST"], user=config["USER"], database=config["NAME"])
    cursor = connection.cursor()

    def read(query: str) -> list[tuple[object, ...]]:
        cursor.execute(query)
        return list(cursor.fetchall())

    assert read("SELECT state, revision, COUNT(*) FROM invoices_invoicedocument GROUP BY 1, 2") == [
        ("stored", 1, INVOICES)
    ]
    assert read("SELECT state, sequence, COUNT(*) FROM invoices_invoicemail GROUP BY 1, 2") == [
        ("sent", 0, INVOICES)
    ]
    assert read("SELECT COUNT(*) FROM alerts_alert") == [(0,)]
    assert read("SELECT COUNT(*) FROM mirror_stripeinvoice WHERE status = 'paid'") == [(INVOICES,)]


def check_files(files: Path) -> None:
    stored = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (files / "invoices").rglob("*.pdf")}
    assert len(stored) == INVOICES
    messages = [message_from_bytes(path.read_bytes()) for path in (files / "mail").glob("*.eml")]
    assert len(messages) == INVOICES
    attached = {
        hashlib.sha256(part.get_payload(decode=True)).hexdigest()  # type: ignore[arg-type]
        for message in messages
        for part in message.walk()
        if part.get_content_type() == "application/pdf"
    }
    assert attached == stored
    noted = (files / "sent.log").read_text().split()
    assert len(noted) == len(set(noted)), "a message was sent twice"
