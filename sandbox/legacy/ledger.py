"""The old service's invoices: what one is, how it is stored, and what an account looked like in a month."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from sandbox.legacy.database import Database, Row
from sandbox.legacy.errors import LegacyDataError
from sandbox.legacy.months import Month, naive_utc
from sandbox.legacy.rules import CENT, Account, FlatFee, Job, Line, Tier, to_minor
from sandbox.legacy.schema import (
    ACCOUNT,
    IMPRESSIONS,
    INVOICE,
    INVOICE_LINE,
    MANAGED_JOB,
    PLAN_SUB,
    PLAN_USAGE,
)

FIRST_INVOICE_ID = 700_001


@dataclass
class Invoice:
    """An invoice of the old service; `inv_id` is given when it is numbered, before it is stored."""

    acct_id: int
    period: Month
    currency: str
    lines: list[Line] = field(default_factory=list)
    status: str = "draft"
    paid_at: datetime | None = None
    inv_id: int = 0

    @property
    def total(self) -> Decimal:
        """The sum of the rounded lines, two decimals; there is no tax in the old data."""
        return sum((line.amount for line in self.lines), Decimal(0)).quantize(CENT)

    @property
    def total_minor(self) -> int:
        """The total in the currency's minor units."""
        return to_minor(self.total, self.currency)

    @property
    def issued_at(self) -> datetime:
        """When the nightly run issued it: in the small hours of the first after its month."""
        return naive_utc(self.period.next_first, 4) + timedelta(seconds=self.inv_id % 1_000)

    @property
    def inv_uuid(self) -> str:
        """An id that follows from the invoice's number and account, so that a run can be repeated."""
        return str(
            uuid.uuid5(uuid.NAMESPACE_URL, f"legacy-invoice/{self.period}/{self.acct_id}/{self.inv_id}")
        )


def number_invoices(invoices: Sequence[Invoice], first: int) -> None:
    """Give the invoices consecutive ids from `first` on."""
    for inv_id, invoice in enumerate(invoices, first):
        invoice.inv_id = inv_id


def store_invoices(database: Database, invoices: Sequence[Invoice]) -> None:
    """Insert numbered invoices and their lines; the caller holds the transaction."""
    database.insert(INVOICE, [_invoice_row(invoice) for invoice in invoices])
    first_line = database.highest(INVOICE_LINE) + 1
    pairs = [(invoice, line) for invoice in invoices for line in invoice.lines]
    database.insert(
        INVOICE_LINE,
        [_line_row(line_id, invoice, line) for line_id, (invoice, line) in enumerate(pairs, first_line)],
    )


def load_accounts(database: Database, month: Month) -> list[Account]:
    """Every account as the rules need it for the month, in the order of ids, usage summed over the month's days."""
    fees: dict[int, list[FlatFee]] = defaultdict(list)
    for row in database.rows(PLAN_SUB):
        fee = FlatFee(row["plan_name"], row["sub_rate"], row["effective_from"], row["effective_to"])
        fees[row["acct_id"]].append(fee)
    tiers: dict[int, list[Tier]] = defaultdict(list)
    for row in database.rows(PLAN_USAGE):
        tiers[row["acct_id"]].append(
            Tier(
                row["usage_type"],
                row["tier_from"],
                row["tier_to"],
                row["rate"],
                row["effective_from"],
                row["effective_to"],
            )
        )
    jobs: dict[int, list[Job]] = defaultdict(list)
    for row in database.rows(MANAGED_JOB):
        job = Job(row["job_id"], row["title"], row["amount"], row["status"], row["completed_at"])
        jobs[row["acct_id"]].append(job)
    usage = sum_usage(database, month)
    return [
        _to_account(
            row, fees[row["acct_id"]], tiers[row["acct_id"]], jobs[row["acct_id"]], usage[row["acct_id"]]
        )
        for row in database.rows(ACCOUNT)
    ]


def sum_usage(database: Database, month: Month) -> dict[int, dict[str, int]]:
    """The month's impressions per account and type."""
    usage: dict[int, dict[str, int]] = defaultdict(dict)
    sums = database.query(
        f"SELECT acct_id, usage_type, SUM(impressions) FROM {IMPRESSIONS.name}"
        " WHERE day >= ? AND day < ? GROUP BY acct_id, usage_type ORDER BY acct_id, usage_type",
        (month.first, month.next_first),
    )
    for acct_id, usage_type, total in sums:
        usage[acct_id][usage_type] = int(total)
    return usage


def group_by_payer(accounts: Iterable[Account]) -> list[tuple[Account, list[Account]]]:
    """Each account that has invoices of its own, with the children that bill through it.

    Raises: LegacyDataError if a child's parent is missing or bills through a parent itself.
    """
    by_id = {account.acct_id: account for account in accounts}
    children: dict[int, list[Account]] = defaultdict(list)
    for account in by_id.values():
        if not account.bills_through_parent or account.parent_acct_id is None:
            continue
        parent = by_id.get(account.parent_acct_id)
        if parent is None or parent.bills_through_parent:
            fault = "does not exist" if parent is None else "bills through a parent itself"
            raise LegacyDataError(f"account {account.acct_id}: its parent {account.parent_acct_id} {fault}")
        children[parent.acct_id].append(account)
    return [
        (account, children[account.acct_id]) for account in by_id.values() if not account.bills_through_parent
    ]


def _to_account(
    row: Row, fees: list[FlatFee], tiers: list[Tier], jobs: list[Job], usage: dict[str, int]
) -> Account:
    return Account(
        acct_id=row["acct_id"],
        name=row["name"],
        currency=row["currency"],
        created_on=row["created_at"].date(),
        status=row["status"],
        parent_acct_id=row["parent_acct_id"],
        stripe_customer_id=row["stripe_customer_id"],
        fees=tuple(fees),
        tiers=tuple(tiers),
        jobs=tuple(jobs),
        usage=usage,
    )


def _invoice_row(invoice: Invoice) -> Row:
    return {
        "inv_id": invoice.inv_id,
        "inv_uuid": invoice.inv_uuid,
        "acct_id": invoice.acct_id,
        "period": str(invoice.period),
        "invoice_no": f"INV-{invoice.inv_id}",
        "status": invoice.status,
        "currency": invoice.currency,
        "subtotal": invoice.total,
        "tax": Decimal("0.00"),
        "total": invoice.total,
        "issued_at": invoice.issued_at,
        "paid_at": invoice.paid_at,
        "stripe_invoice_id": None,
        "pdf_url": None
        if invoice.status == "draft"
        else f"https://billing.example.com/invoices/{invoice.inv_uuid}.pdf",
    }


def _line_row(line_id: int, invoice: Invoice, line: Line) -> Row:
    return {
        "id": line_id,
        "inv_id": invoice.inv_id,
        "kind": line.kind,
        "description": line.description,
        "quantity": line.quantity,
        "unit_rate": line.unit_rate,
        "amount": line.amount,
    }
