"""A task drains whatever documents wait, and may die at any of them: each has one PDF and one mail in the end."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.invoices.drain_process import DOCUMENTS, KILLS
from tests.invoices.test_killed_workers import connect
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow


def test_documents_arrive_once_each_whoever_dies_while_draining(
    lay_database: Callable[[str], str], tmp_path: Path
) -> None:
    url = lay_database("drained")
    done = subprocess.run(
        [sys.executable, "-m", "tests.invoices.drain_process"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={
            **os.environ,
            "TEST_DATABASE_URL": url,
            "FILES_DIR": str(tmp_path),
            "TMPDIR": str(tmp_path),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
        },
    )
    kills, left = done.stdout.split()

    assert int(kills) == KILLS
    assert int(left) <= 2 * KILLS, "more was left than the killed ones had in hand"
    read = connect(url)
    assert read("SELECT state, COUNT(*) FROM invoices_invoicedocument GROUP BY 1") == [("stored", DOCUMENTS)]
    assert read("SELECT state, sequence, COUNT(*) FROM invoices_invoicemail GROUP BY 1, 2") == [
        ("sent", 0, DOCUMENTS)
    ]
    assert read("SELECT COUNT(*) FROM alerts_alert") == [(0,)]
    stored = [hashlib.sha256(path.read_bytes()).digest() for path in (tmp_path / "invoices").rglob("*.pdf")]
    attached = [
        hashlib.sha256(part.get_payload(decode=True)).digest()  # type: ignore[arg-type]
        for path in (tmp_path / "mail").glob("*.eml")
        for part in message_from_bytes(path.read_bytes()).walk()
        if part.get_content_type() == "application/pdf"
    ]
    assert len(set(stored)) == len(stored) == DOCUMENTS
    assert sorted(attached) == sorted(stored)
    noted = (tmp_path / "sent.log").read_text().split()
    assert len(noted) == len(set(noted)), "a message was sent twice"
