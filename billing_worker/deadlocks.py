"""Do a transaction again that the database gave up for another one."""

from __future__ import annotations

from typing import Final

from django.db import OperationalError, connection
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random

#: MariaDB's lock wait timeout and deadlock: the transaction is undone, and the same work may be done again.
UNDONE: Final = frozenset({1205, 1213})


def is_undone(error: BaseException) -> bool:
    """Whether the database undid our transaction for another's sake, and we hold no outer one that is gone with it."""
    if not isinstance(error, OperationalError) or connection.in_atomic_block:
        return False
    return bool(error.args) and error.args[0] in UNDONE


#: Decorates work that is whole in itself: called outside a transaction, it may run again from its beginning.
retry_when_undone = retry(
    retry=retry_if_exception(is_undone), stop=stop_after_attempt(5), wait=wait_random(0, 0.1), reraise=True
)
