"""The command line: `python -m sandbox.legacy {generate,run-month,usage,cohorts}`.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 2 refused with one line that says why.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.progress import Progress

from sandbox.legacy.cohorts import read_cohorts
from sandbox.legacy.database import Database, driver_errors, open_database
from sandbox.legacy.errors import LegacyError
from sandbox.legacy.generate import generate
from sandbox.legacy.ledger import group_by_payer, load_accounts
from sandbox.legacy.months import Month
from sandbox.legacy.run_month import run_month
from sandbox.legacy.usage import format_usage, read_daily_usage


class _Parser(argparse.ArgumentParser):
    """Refuses bad arguments in one line."""

    def error(self, message: str) -> NoReturn:
        raise LegacyError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    try:
        options = _build_parser().parse_args(argv)
        options.command(options)
    except LegacyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except driver_errors() as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted, nothing was written", file=sys.stderr)
        return 130
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m sandbox.legacy", description="A stand-in for the old in-house billing service."
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    making = _add(
        commands, "generate", _generate, "fill a database with invented accounts and their past invoices"
    )
    making.add_argument("--seed", type=int, default=20261001, help="same seed, same rows (default: 20261001)")
    making.add_argument("--period", default="2026-10", help="the month about to be billed (default: 2026-10)")
    making.add_argument("--accounts", type=int, default=60, help="how many accounts (default: 60)")
    making.add_argument("--months", type=int, default=13, help="past months with invoices (default: 13)")
    making.add_argument("--replace", action="store_true", help="write a database that exists anew")

    billing = _add(commands, "run-month", _run_month, "bill a month by the old rules")
    billing.add_argument("--period", required=True, help="the month, YYYY-MM")
    billing.add_argument("--shadow", action="store_true", help="write drafts and leave managed jobs unbilled")
    billing.add_argument(
        "--plant-differences", action="store_true", help="make cohort 3 differ from the rules"
    )
    billing.add_argument(
        "--planted-out", type=Path, metavar="FILE", help="where to list the planted differences"
    )
    billing.add_argument(
        "--allow-incomplete", action="store_true", help="bill even if days of usage are not loaded"
    )

    usage = _add(commands, "usage", _usage, "export a month's daily usage records")
    usage.add_argument("--period", required=True, help="the month, YYYY-MM")
    usage.add_argument("--format", choices=("jsonl", "csv"), default="jsonl")
    usage.add_argument("--output", type=Path, metavar="FILE", help="write to a file instead of stdout")

    _add(commands, "cohorts", _cohorts, "list which accounts move together, as JSON")
    return parser


def _add(
    commands: argparse._SubParsersAction[_Parser],
    name: str,
    command: Callable[[argparse.Namespace], None],
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("--database", required=True, help="sqlite:///path or mysql://user:password@host/name")
    parser.set_defaults(command=command)
    return parser


def _generate(options: argparse.Namespace) -> None:
    period = Month.parse(options.period)
    with _progress("Billing past months", options.months) as on_month:
        counts = generate(
            options.database,
            period=period,
            seed=options.seed,
            accounts=options.accounts,
            months=options.months,
            replace=options.replace,
            on_month=on_month,
        )
    print(", ".join(f"{table} {count}" for table, count in counts.items()))


def _run_month(options: argparse.Namespace) -> None:
    month = Month.parse(options.period)
    if options.planted_out and not options.plant_differences:
        raise LegacyError("--planted-out lists what --plant-differences planted: pass both")
    with _open(options.database) as database:
        payers = len(group_by_payer(load_accounts(database, month)))
        with _progress(f"Billing {month}", payers) as on_payer:
            run = run_month(
                database,
                month,
                shadow=options.shadow,
                plant=options.plant_differences,
                allow_incomplete=options.allow_incomplete,
                on_payer=on_payer,
            )
    if options.planted_out:
        _write(
            options.planted_out, json.dumps([planted.as_dict() for planted in run.planted], indent=2) + "\n"
        )
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for invoice in run.invoices:
        totals[invoice.currency] += invoice.total
    sums = ", ".join(f"{currency} {total:,}" for currency, total in sorted(totals.items()))
    status = "draft" if options.shadow else "sent"
    print(f"{month}: {len(run.invoices)} invoices {status}, {sums}; {len(run.planted)} differences planted")


def _usage(options: argparse.Namespace) -> None:
    month = Month.parse(options.period)
    with _open(options.database) as database:
        text = format_usage(read_daily_usage(database, month), options.format)
    if options.output:
        _write(options.output, text)
    else:
        sys.stdout.write(text)


def _cohorts(options: argparse.Namespace) -> None:
    with _open(options.database) as database:
        print(json.dumps(read_cohorts(database), indent=2))


@contextmanager
def _open(url: str) -> Iterator[Database]:
    with open_database(url) as database:
        if not database.has_tables():
            raise LegacyError(
                "the database holds no legacy tables: run `python -m sandbox.legacy generate` first"
            )
        yield database


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on a terminal's stderr, nothing elsewhere; yields what advances it by one."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)


if __name__ == "__main__":
    sys.exit(main())
