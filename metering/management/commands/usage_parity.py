"""Compare our usage with the other side's."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from billing_worker.core.errors import InvalidInput
from metering.parity.config import HTTP, REDSHIFT, get_tolerances, open_source
from metering.parity.models import ParityCheck
from metering.parity.selectors import get_clean_streak
from metering.parity.services import describe_result, run_check
from metering.parity.sources import ParitySource, open_csv
from metering.parity.states import ParityState
from metering.parity.windows import Window

SHOWN = 50


class Command(BillingCommand):
    help = (
        "Compare our usage of a window with the other side's, per account and in total; exit 1 if it differs."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from", dest="start", required=True, help="First instant, like 2026-10-05 (UTC)."
        )
        parser.add_argument("--to", dest="end", required=True, help="First instant after the window.")
        parser.add_argument(
            "--source", choices=[HTTP, "csv", REDSHIFT], help="Default: csv with --file, else PARITY_SOURCE."
        )
        parser.add_argument("--file", type=Path, help="The CSV file, of the window's month.")

    def handle(self, *, start: str, end: str, **options: Any) -> None:
        window = Window.parse(start, end)
        with _open(window, options["source"], options["file"]) as source:
            check = run_check(source=source, window=window, tolerances=get_tolerances(), now=timezone.now())
        self._report(check, window)

    def _report(self, check: ParityCheck, window: Window) -> None:
        if check.state == ParityState.FAILED:
            raise CommandError(check.detail, returncode=2)
        self.stdout.write(f"{check.source} {window}: {check.compared} figures compared")
        for result in check.results.filter(is_breach=True)[:SHOWN]:
            self.stdout.write(f"  {describe_result(result)}")
        if check.breaches > SHOWN:
            self.stdout.write(f"  and {check.breaches - SHOWN} more, in the console under Parity checks")
        streak = get_clean_streak(now=check.checked_at)
        self.stdout.write(f"  scheduled checks: parity clean for {streak.hours} hours")
        if check.state == ParityState.EMPTY:
            raise CommandError("neither side holds usage in the window: nothing is proved", returncode=1)
        if check.state == ParityState.BREACH:
            raise CommandError(
                f"{check.breaches} figure(s) differ by more than their tolerance", returncode=1
            )


def _open(window: Window, name: str | None, file: Path | None) -> AbstractContextManager[ParitySource]:
    """The source that the options name.

    Raises:
        InvalidInput: they contradict each other, or none is named.
    """
    name = name or ("csv" if file else settings.ENV.PARITY_SOURCE)
    if name is None:
        raise InvalidInput("no other side: give --source, or --file PATH, or set PARITY_SOURCE")
    if name != "csv":
        if file is not None:
            raise InvalidInput("--file belongs to --source csv")
        return open_source(name)
    if file is None:
        raise InvalidInput("--source csv needs --file PATH")
    return nullcontext(open_csv(file, window=window, now=timezone.now()))
