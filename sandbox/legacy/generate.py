"""Fill a database with the old service's tables, the same rows for the same seed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from sandbox.legacy.database import Database, Row, create_file, open_database, sqlite_path
from sandbox.legacy.errors import LegacyError
from sandbox.legacy.history import NumberedJob, make_history
from sandbox.legacy.ledger import FIRST_INVOICE_ID, Invoice, number_invoices, store_invoices
from sandbox.legacy.months import Month, naive_utc
from sandbox.legacy.roster import make_roster
from sandbox.legacy.schema import ACCOUNT, IMPRESSIONS, LOAD_LOG, MANAGED_JOB, PLAN_SUB, PLAN_USAGE
from sandbox.legacy.specs import AccountSpec
from sandbox.legacy.stream import Stream
from sandbox.legacy.usage import make_daily_rows, make_month_usage

FIRST_JOB_ID = 301
MIN_MONTHS, MAX_MONTHS = 3, 168


def generate(
    url: str,
    *,
    period: Month,
    seed: int,
    accounts: int,
    months: int,
    replace: bool = False,
    on_month: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """Create the tables and fill them; returns the number of rows per table.

    A SQLite file appears whole or not at all. Raises: LegacyError if the database holds the tables already and
    `replace` is not set, or an argument is out of bounds.
    """
    if not MIN_MONTHS <= months <= MAX_MONTHS:
        raise LegacyError(f"--months must lie between {MIN_MONTHS} and {MAX_MONTHS}")
    roster = make_roster(period=period, seed=seed, accounts=accounts)
    jobs = number_jobs(roster)
    history = make_history(roster, jobs, period=period, months=months, seed=seed, on_month=on_month)
    number_invoices(history, FIRST_INVOICE_ID)

    path = sqlite_path(url)
    if path is None:
        with open_database(url) as database:
            _require_room(database.has_tables(), url="the database", replace=replace)
            database.drop_tables()
            database.create_tables()
            return _fill(database, roster, jobs, history, period=period, seed=seed)
    _require_room(path.exists(), url=str(path), replace=replace)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with create_file(partial) as database:
            database.create_tables()
            counts = _fill(database, roster, jobs, history, period=period, seed=seed)
        for leftover in ("-wal", "-shm", "-journal"):
            path.with_name(path.name + leftover).unlink(missing_ok=True)
        os.replace(partial, path)
    except OSError as error:
        raise LegacyError(f"can't write {path}: {error.strerror}") from error
    finally:
        if partial.exists():
            partial.unlink()
    return counts


def number_jobs(roster: Sequence[AccountSpec]) -> list[NumberedJob]:
    """Every job of the roster with its id, in the order of accounts."""
    pairs = [(spec.acct_id, job) for spec in roster for job in spec.jobs]
    return [NumberedJob(job_id, acct_id, job) for job_id, (acct_id, job) in enumerate(pairs, FIRST_JOB_ID)]


def _require_room(taken: bool, *, url: str, replace: bool) -> None:
    if taken and not replace:
        raise LegacyError(f"{url} already holds a legacy database: pass --replace to write it anew")


def _fill(
    database: Database,
    roster: Sequence[AccountSpec],
    jobs: Sequence[NumberedJob],
    history: Sequence[Invoice],
    *,
    period: Month,
    seed: int,
) -> dict[str, int]:
    with database.transaction():
        counts = {ACCOUNT.name: database.insert(ACCOUNT, [_account_row(spec) for spec in roster])}
        counts[PLAN_SUB.name] = database.insert(PLAN_SUB, _fee_rows(roster))
        counts[PLAN_USAGE.name] = database.insert(PLAN_USAGE, _tier_rows(roster))
        store_invoices(database, history)
        counts["billing_invoice"] = len(history)
        counts["billing_invoice_line"] = sum(len(invoice.lines) for invoice in history)
        counts[MANAGED_JOB.name] = database.insert(MANAGED_JOB, _job_rows(jobs, history))
        loaded = (period.plus(-1), period)
        counts[IMPRESSIONS.name] = database.insert(
            IMPRESSIONS,
            [
                row
                for month in loaded
                for spec in roster
                for row in make_daily_rows(spec, month, make_month_usage(spec, month, period, seed), seed)
            ],
        )
        counts[LOAD_LOG.name] = database.insert(LOAD_LOG, _load_rows(loaded, seed))
    return counts


def _account_row(spec: AccountSpec) -> Row:
    return {
        "acct_id": spec.acct_id,
        "name": spec.name,
        "status": spec.status,
        "billing_email": f"billing@{spec.slug}.example.com",
        "billing_cc": spec.billing_cc,
        "address_line1": spec.address.line1,
        "address_line2": spec.address.line2,
        "address_city": spec.address.city,
        "address_state": spec.address.state,
        "address_postal_code": spec.address.postal_code,
        "address_country": spec.address.country,
        "currency": spec.currency,
        "parent_acct_id": spec.parent_acct_id,
        "stripe_customer_id": None,
        "created_at": spec.created_at,
    }


def _fee_rows(roster: Sequence[AccountSpec]) -> Iterator[Row]:
    pairs = [(spec.acct_id, fee) for spec in roster for fee in spec.fees]
    for row_id, (acct_id, fee) in enumerate(pairs, 1):
        yield {
            "id": row_id,
            "acct_id": acct_id,
            "plan_name": fee.plan_name,
            "sub_rate": fee.rate,
            "effective_from": fee.effective_from,
            "effective_to": fee.effective_to,
        }


def _tier_rows(roster: Sequence[AccountSpec]) -> Iterator[Row]:
    pairs = [(spec.acct_id, tier) for spec in roster for tier in spec.tiers]
    for row_id, (acct_id, tier) in enumerate(pairs, 1):
        yield {
            "id": row_id,
            "acct_id": acct_id,
            "usage_type": tier.usage_type,
            "tier_from": tier.tier_from,
            "tier_to": tier.tier_to,
            "rate": tier.rate,
            "effective_from": tier.effective_from,
            "effective_to": tier.effective_to,
        }


def _job_rows(jobs: Sequence[NumberedJob], history: Sequence[Invoice]) -> Iterator[Row]:
    billed_in = {
        line.job_id: invoice.inv_id
        for invoice in history
        if invoice.status != "void"
        for line in invoice.lines
    }
    for job in jobs:
        yield {
            "job_id": job.job_id,
            "acct_id": job.acct_id,
            "title": job.spec.title,
            "amount": job.spec.amount,
            "status": job.spec.status,
            "completed_at": job.spec.completed_at,
            "billed_inv_id": billed_in.get(job.job_id),
        }


def _load_rows(months: Sequence[Month], seed: int) -> Iterator[Row]:
    """Each day's load ended in the small hours of the next."""
    stream = Stream(seed, "load log")
    for day in (day for month in months for day in month.days):
        done = naive_utc(day + timedelta(days=1), 2, stream.between(0, 59), stream.between(0, 59))
        yield {"day": day, "completed_at": done}
