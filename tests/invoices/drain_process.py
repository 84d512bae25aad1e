"""Processes that drain the queue of documents, two at a time, and are killed at it.

`python -m tests.invoices.drain_process`, under `tests.settings` with `TEST_DATABASE_URL`; files go to `FILES_DIR`.

Nothing depends on the time: a process kills itself before or after a statement that chance picked, and nobody takes
over while others live. What is then left is swept and drained once, as the sweeper and the next kick would.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from tests.invoices.noting_backend import configure

DOCUMENTS = 24
POOL = 2
KILLS = 5
#: A document takes 13 statements at least, so those that die leave work to the others: 5 * 45 < 24 * 13.
STATEMENTS = range(3, 45)
#: A task hands over after so long, so that the end of one lies in the test as well.
SECONDS_PER_TASK = 0.5


def drain() -> None:
    """Take one document and whatever else waits, and again, until nothing does: each pass of it is one task."""
    from django.utils import timezone

    from invoices import tasks
    from invoices.selectors import select_due_documents

    setattr(tasks, "_SECONDS_PER_TASK", SECONDS_PER_TASK)  # noqa: B010 (a constant of theirs)
    while due := select_due_documents(timezone.now()).values_list("pk", flat=True).first():
        tasks.render_document(due)


@dataclass(frozen=True, slots=True)
class Death:
    """At the so many-th of the statements that hold the words: with it done, or before."""

    number: int
    is_done: bool
    words: str = ""


#: After the file is written and before the row says so; after the mail is written and before the row says so.
WRITTEN = (Death(1, False, "`stored_at` ="), Death(1, False, "`sent_at` ="))


def drain_until_killed(death: Death) -> None:
    """Drain, and end by SIGKILL."""
    from django.db import connection

    left = death.number

    def count(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        nonlocal left
        left -= death.words in sql
        if left == 0 and not death.is_done:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = execute(sql, *arguments)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    with connection.execute_wrapper(count):
        drain()


def count_steps() -> int:
    """Two for each document: its PDF and its mail."""
    from invoices.models import InvoiceDocument, InvoiceMail

    stored = InvoiceDocument.objects.filter(state="stored").count()
    return stored + InvoiceMail.objects.filter(state="sent").count()


def fork(work: Callable[[], None]) -> None:
    from django.db import connections

    connections.close_all()
    if os.fork() == 0:
        work()
        os._exit(0)


def drain_and_kill() -> int:
    """How many were killed. The last of them are dead before any that lives to the end is started."""
    chance = random.Random(20261130)
    deaths = [Death(chance.choice(STATEMENTS), chance.random() < 0.5) for _ in range(KILLS - len(WRITTEN))]
    waiting = [partial(drain_until_killed, death) for death in (*deaths, *WRITTEN)]
    kills = 0
    for _ in range(POOL):
        fork(waiting.pop())
    for _ in range(KILLS):
        _, status = os.wait()
        kills += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if waiting:
            fork(waiting.pop())
    in_pool(drain)
    return kills


def finish() -> None:
    """What the sweeper and the tasks that it kicks do once the claims of the dead are old: all of them at once."""
    from django.utils import timezone

    from invoices.services.sweeping import sweep_invoices

    sweep_invoices(now=timezone.now(), stale_after=timedelta(0))
    in_pool(deliver_and_drain)


def deliver_and_drain() -> None:
    from django.utils import timezone

    from invoices import tasks
    from invoices.selectors import select_due_mails

    for mail_id in list(select_due_mails(timezone.now()).values_list("pk", flat=True)):
        tasks.deliver_mail(mail_id)
    drain()


def in_pool(work: Callable[[], None]) -> None:
    for _ in range(POOL):
        fork(work)
    for _ in range(POOL):
        _, status = os.wait()
        assert status == 0, f"a process failed: {status}"


def main() -> None:
    from invoices.rendering.pdf import render_pdf
    from tests.invoices.factories import make_document
    from tests.invoices.samples import build_content

    # Fonts and styles are loaded once and not by each fork.
    render_pdf(build_content())
    for _ in range(DOCUMENTS):
        make_document()
    kills = drain_and_kill()
    left = 2 * DOCUMENTS - count_steps()
    finish()
    print(f"{kills} {left}")


if __name__ == "__main__":
    configure()
    main()
