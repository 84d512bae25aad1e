"""The base of our management commands: errors in one line, exit code 2, progress that suits where it is shown."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

import structlog
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import track

from billing_worker.core.errors import BillingError

log = structlog.get_logger(__name__)

T = TypeVar("T")


class BillingCommand(BaseCommand):
    """Runs `handle`; a `BillingError` becomes one line on stderr and exit code 2, without a stack trace."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except BillingError as error:
            raise CommandError(str(error), returncode=2) from error

    def track(self, items: Iterable[T], *, description: str, total: int | None = None) -> Iterator[T]:
        """Yield the items behind a progress bar on a terminal, else with a log line each tenth of the way."""
        if sys.stderr.isatty():
            yield from track(items, description=description, total=total, console=Console(stderr=True))
            return
        total = total if total is not None else len(items) if isinstance(items, Sized) else None
        step = max(1, total // 10) if total else 1000
        for done, item in enumerate(items, start=1):
            yield item
            if done % step == 0 or done == total:
                log.info("progress", step=description, done=done, total=total)
