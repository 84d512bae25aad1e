"""Several deliveries and several workers at once, on the database of production; one worker is killed on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import dj_database_url
import MySQLdb
import pytest

from tests.support.processes import ROOT, wait_until
from tests.webhooks.worker_process import EVENTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


def start(url: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "TEST_DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tests.settings"},
    )


class Database:
    """The workers' database, read from outside of Django."""

    def __init__(self, url: str) -> None:
        config = dj_database_url.parse(url)
        self._connection = MySQLdb.connect(
            unix_socket=config["HOST"], user=config["USER"], database=config["NAME"], autocommit=True
        )

    def read(self, query: str) -> list[tuple[Any, ...]]:
        cursor = self._connection.cursor()
        cursor.execute(query)
        return list(cursor.fetchall())

    def count(self, query: str) -> int:
        return int(self.read(query)[0][0])


def test_each_event_has_its_effect_once(lay_database: Callable[[str], str]) -> None:
    url = lay_database("inbox")
    module = ("-m", "tests.webhooks.worker_process")
    database = Database(url)

    receivers = [start(url, *module, "receive") for _ in range(2)]
    workers = [start(url, *module, "drain") for _ in range(2)]
    victim = start(url, *module, "drain")
    try:
        wait_until(
            lambda: database.count("SELECT COUNT(*) FROM webhooks_inboxevent WHERE state = 'processed'") > 20,
            seconds=300,
        )
        victim.kill()
        assert [process.wait(2000) for process in receivers] == [0, 0]
        assert [process.wait(2000) for process in workers] == [0, 0]
    finally:
        for process in (*receivers, *workers, victim):
            process.kill()
            process.wait()

    states = dict(database.read("SELECT state, COUNT(*) FROM webhooks_inboxevent GROUP BY state"))
    assert states == {"processed": EVENTS}
    effects = Counter(
        subject
        for (subject,) in database.read(
            "SELECT subject_id FROM accounts_auditentry WHERE action = 'test.effect'"
        )
    )
    assert effects == {f"evt_{number}": 1 for number in range(EVENTS)}
    assert database.count("SELECT COUNT(*) FROM mirror_stripeinvoice WHERE status = 'paid'") == EVENTS // 2
    assert database.count("SELECT COUNT(*) FROM mirror_stripeinvoiceline") == EVENTS // 2
    copies = dict(
        database.read(
            "SELECT kind, COUNT(*) FROM mirror_rawcopy WHERE copied_at IS NOT NULL AND last_error = '' GROUP BY kind"
        )
    )
    assert copies["invoice"] == EVENTS // 2
