"""Workers die at any line, on production's database: every invoice, receipt and credit note is made and mailed once."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path
from typing import Any

import dj_database_url
import MySQLdb
import pytest

from tests.invoices.worker_process import CREDIT_NOTES, INVOICES, MAILS, RECEIPTS
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow

WORKERS = 2
KILLS = 6
#: An event each for two states of an invoice, a stored PDF, a sent mail.
STEPS_OF_AN_INVOICE = 4
#: Only against hanging: a busy machine may take its time.
SECONDS = 2000


def start(url: str, files: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        env={
            **os.environ,
            "TEST_DATABASE_URL": url,
            "FILES_DIR": str(files),
            "TMPDIR": str(files),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
        },
    )


@pytest.mark.timeout(2400)
def test_three_hundred_invoices_arrive_once_each(lay_database: Callable[[str], str], tmp_path: Path) -> None:
    url = lay_database("killed")
    module = ("-m", "tests.invoices.worker_process")
    assert start(url, tmp_path, *module, "prepare").wait(SECONDS) == 0

    kills = run_and_kill(url, tmp_path, module)

    assert kills == KILLS
    check_rows(url)
    check_files(tmp_path)


def run_and_kill(url: str, files: Path, module: tuple[str, ...]) -> int:
    """Two workers at a time, one of them killed at a random share of the work and replaced, until all is done."""
    chance = random.Random(20261101)
    shares = sorted(chance.uniform(0.02, 0.8) for _ in range(KILLS))
    points = [int(share * INVOICES * STEPS_OF_AN_INVOICE) for share in shares]
    workers = [start(url, files, *module, "work") for _ in range(WORKERS)]
    deadline = time.monotonic() + SECONDS
    kills = 0
    try:
        while any(worker.poll() is None for worker in workers):
            assert time.monotonic() < deadline, "the workers did not finish"
            assert all(worker.poll() in (None, 0) for worker in workers), "a worker failed"
            if kills < KILLS and count_steps(url) >= points[kills]:
                victim = workers.pop(chance.randrange(WORKERS))
                victim.kill()
                victim.wait()
                workers.append(start(url, files, *module, "work"))
                kills += 1
            time.sleep(0.05)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return kills


def connect(url: str) -> Callable[[str], list[tuple[Any, ...]]]:
    config = dj_database_url.parse(url)
    connection = MySQLdb.connect(
        unix_socket=config["HOST"], user=config["USER"], database=config["NAME"], autocommit=True
    )

    def read(query: str) -> list[tuple[Any, ...]]:
        cursor = connection.cursor()
        cursor.execute(query)
        return list(cursor.fetchall())

    return read


def count_steps(url: str) -> int:
    read = connect(url)
    return sum(
        read(f"SELECT COUNT(*) FROM {table} WHERE state = '{state}'")[0][0]
        for table, state in (
            ("webhooks_inboxevent", "processed"),
            ("invoices_invoicedocument", "stored"),
            ("invoices_invoicemail", "sent"),
        )
    )


def check_rows(url: str) -> None:
    read = connect(url)
    assert read(
        "SELECT kind, state, revision, COUNT(*) FROM invoices_invoicedocument GROUP BY 1, 2, 3 ORDER BY 1"
    ) == [
        ("credit_note", "stored", 1, CREDIT_NOTES),
        ("invoice", "stored", 1, INVOICES),
        ("receipt", "stored", 1, RECEIPTS),
    ]
    assert read("SELECT state, sequence, COUNT(*) FROM invoices_invoicemail GROUP BY 1, 2") == [
        ("sent", 0, MAILS)
    ]
    assert read("SELECT COUNT(*) FROM alerts_alert") == [(0,)]
    assert read("SELECT COUNT(*) FROM mirror_stripeinvoice WHERE status = 'paid'") == [(INVOICES,)]


def check_files(files: Path) -> None:
    stored = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (files / "invoices").rglob("*.pdf")}
    assert len(stored) == MAILS
    messages = [message_from_bytes(path.read_bytes()) for path in (files / "mail").glob("*.eml")]
    assert len(messages) == MAILS
    attached = {
        hashlib.sha256(part.get_payload(decode=True)).hexdigest()  # type: ignore[arg-type]
        for message in messages
        for part in message.walk()
        if part.get_content_type() == "application/pdf"
    }
    assert attached == stored
    noted = (files / "sent.log").read_text().split()
    assert len(noted) == len(set(noted)), "a message was sent twice"
