"""Wake workers for documents that wait, as many as it takes and not one for each."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db import transaction

from billing_worker.alerts.kicks import send_kick
from invoices.selectors import select_due_documents

#: Up to so many waiting documents each one wakes a worker. Above the number of worker processes that make documents at
#: the same time, so that of those which are made together and all see each other at least one kicks.
KICKS_FOR_EACH: Final = 32
#: Beyond that one more worker is woken for one in so many.
DOCUMENTS_PER_KICK: Final = 25


def wake_for_document(document_id: int, *, now: datetime) -> None:
    """Once the present transaction (if any) is committed, make sure that a worker takes the document.

    A worker that renders takes whatever waits before it rests, so a kick for each would only cost the broker.
    """
    transaction.on_commit(lambda: _wake(document_id, now=now))


def _wake(document_id: int, *, now: datetime) -> None:
    waiting = select_due_documents(now).order_by().values_list("pk", flat=True)
    if document_id % DOCUMENTS_PER_KICK == 0 or len(waiting[: KICKS_FOR_EACH + 1]) <= KICKS_FOR_EACH:
        send_kick("invoices.render_document", document_id)
