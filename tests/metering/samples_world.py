"""Roll-ups as processes on one MariaDB: each is killed inside its transaction while the next one waits for its locks.

`python -m tests.metering.samples_world STATEMENT...` prints what the survivor did, as JSON. The account and its
samples are the test's.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import closing
from datetime import timedelta
from typing import IO, Any

import django

DEADLINE = 60


def roll_up(hold_after: str | None, said: int) -> None:
    """Roll up; after the first statement that holds this text, say so and wait to be killed."""
    from django.db import connection

    from metering.samples.roll_up import roll_up_samples
    from metering.services.roll_up import RollUpResult, add_result
    from metering.services.seam import Seam
    from tests.metering.factories import NOW

    def hold(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        answer = execute(sql, params, many, context)
        if hold_after and hold_after in sql.replace("`", ""):
            os.write(said, b"held\n")
            signal.pause()
        return answer

    with connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        os.write(said, f"{cursor.fetchone()[0]}\n".encode())
    total = RollUpResult()
    with connection.execute_wrapper(hold):
        for part in roll_up_samples(now=NOW, grace=timedelta(hours=1), seam=Seam(shadow=False)):
            add_result(total, part)
    os.write(said, json.dumps({"samples": total.samples, "events": total.events}).encode() + b"\n")


def start(hold_after: str | None, children: list[int]) -> IO[str]:
    """A process of its own that rolls up, added to `children`; what it says, line by line."""
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            roll_up(hold_after, said)
            code = 0
        finally:
            os._exit(code)
    os.close(said)
    children.append(child)
    return os.fdopen(heard)


def wait_until_waiting(thread: int) -> None:
    """Until the connection waits for a lock."""
    from django.db import connection

    deadline = time.monotonic() + DEADLINE
    query = (
        "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = %s AND trx_state = %s"
    )
    # Closed at the end, so that the next process does not inherit it.
    with closing(connection), connection.cursor() as cursor:
        while True:
            cursor.execute(query, [thread, "LOCK WAIT"])
            if cursor.fetchone()[0]:
                return
            if time.monotonic() > deadline:
                raise SystemExit("the next roll-up never waited for the one before")
            # The table is a copy that is made anew only if nobody has read it for 0.1 s.
            time.sleep(0.2)


def kill_one_by_one(statements: list[str]) -> None:
    """Each roll-up dies after its statement, when the next one waits for what it holds; the last one lives."""
    children: list[int] = []
    try:
        says = start(statements[0], children)
        says.readline()
        for following in [*statements[1:], None]:
            if says.readline() != "held\n":
                raise SystemExit("a roll-up ended without the statement that it should die at")
            next_says = start(following, children)
            wait_until_waiting(int(next_says.readline()))
            end(children.pop(0))
            says = next_says
        print(says.readline())
        _, status = os.waitpid(children.pop(), 0)
    finally:
        for child in children:
            end(child)
    raise SystemExit(os.waitstatus_to_exitcode(status))


def end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


if __name__ == "__main__":
    django.setup()
    kill_one_by_one(sys.argv[1:])
