"""The old service bills a month: every payer's invoice by the rules, stored with its lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sandbox.legacy.cohorts import read_cohorts
from sandbox.legacy.database import Database
from sandbox.legacy.errors import LegacyError
from sandbox.legacy.ledger import Invoice, group_by_payer, load_accounts, number_invoices, store_invoices
from sandbox.legacy.months import Month
from sandbox.legacy.planting import Planted, plant_differences
from sandbox.legacy.rules import Account, compute_invoice_lines
from sandbox.legacy.schema import INVOICE, LOAD_LOG


@dataclass(frozen=True)
class MonthRun:
    """What a run wrote: the invoices, and the differences that were planted among them."""

    invoices: list[Invoice]
    planted: list[Planted]


def compute_month(
    accounts: Sequence[Account], month: Month, on_payer: Callable[[], None] = lambda: None
) -> list[Invoice]:
    """Every payer's invoice by the rules, in the order of account ids; a payer without lines gets none."""
    invoices = []
    for payer, children in group_by_payer(accounts):
        lines = compute_invoice_lines(payer, children, month)
        if lines:
            invoices.append(Invoice(payer.acct_id, month, payer.currency, lines))
        on_payer()
    return invoices


def run_month(
    database: Database,
    month: Month,
    *,
    shadow: bool,
    plant: bool = False,
    allow_incomplete: bool = False,
    on_payer: Callable[[], None] = lambda: None,
) -> MonthRun:
    """Bill the month in one transaction.

    A shadow run writes drafts and leaves managed jobs as they are; a real one sends the invoices and marks the jobs
    billed. Raises: LegacyError if the month was billed before, or its usage is not loaded to the last day.
    """
    with database.transaction():
        billed = database.query("SELECT COUNT(*) FROM billing_invoice WHERE period = ?", (str(month),))[0][0]
        if billed:
            raise LegacyError(
                f"{month} is billed already ({billed} invoices): generate the database anew first"
            )
        if not allow_incomplete:
            _require_loaded(database, month)
        accounts = load_accounts(database, month)
        if not accounts:
            raise LegacyError("the database holds no accounts: run `python -m sandbox.legacy generate` first")
        invoices = compute_month(accounts, month, on_payer)
        planted: list[Planted] = []
        if plant:
            cohort = read_cohorts(database)["cohort-3"]
            invoices, planted = plant_differences(database, month, accounts, invoices, cohort)
        for invoice in invoices:
            invoice.status = "draft" if shadow else "sent"
        number_invoices(invoices, database.highest(INVOICE) + 1)
        store_invoices(database, invoices)
        if not shadow:
            _mark_billed(database, invoices)
    return MonthRun(invoices, planted)


def _require_loaded(database: Database, month: Month) -> None:
    rows = database.rows(LOAD_LOG, "day >= ? AND day < ?", (month.first, month.next_first))
    missing = month.day_count - len(rows)
    if missing:
        raise LegacyError(
            f"usage of {month} is not loaded: {missing} of {month.day_count} days are missing from the load log"
            " (--allow-incomplete bills without them)"
        )


def _mark_billed(database: Database, invoices: Sequence[Invoice]) -> None:
    for invoice in invoices:
        for line in invoice.lines:
            if line.job_id is not None:
                database.execute(
                    "UPDATE managed_service_job SET status = 'billed', billed_inv_id = ?"
                    " WHERE job_id = ? AND status = 'done'",
                    (invoice.inv_id, line.job_id),
                )
