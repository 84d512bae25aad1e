"""Do a transaction again that the database gave up for another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from django.db import OperationalError, connection
from tenacity import (
    Retrying,
    retry,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random,
)

T = TypeVar("T")

#: MariaDB's lock wait timeout and deadlock: the transaction is undone, and the same work may be done again.
UNDONE: Final = frozenset({1205, 1213})
#: Times that a transaction is tried before its error comes through.
ATTEMPTS: Final = 5


def is_undone(error: BaseException) -> bool:
    """Whether the database undid our transaction for another's sake, and we hold no outer one that is gone with it."""
    if not isinstance(error, OperationalError) or connection.in_atomic_block:
        return False
    return bool(error.args) and error.args[0] in UNDONE


_STOP: Final = stop_after_attempt(ATTEMPTS)
_PAUSE: Final = wait_random(0, 0.1)

#: Decorates work that is whole in itself: called outside a transaction, it may run again from its beginning.
retry_when_undone = retry(retry=retry_if_exception(is_undone), stop=_STOP, wait=_PAUSE, reraise=True)


def do_again(work: Callable[[], T], *, also: type[BaseException]) -> T:
    """`work()`, done again as `retry_when_undone` does, and after this error of the database as well."""
    wanted = retry_if_exception(is_undone) | retry_if_exception_type(also)
    return Retrying(retry=wanted, stop=_STOP, wait=_PAUSE, reraise=True)(work)
