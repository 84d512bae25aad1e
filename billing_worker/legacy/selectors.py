"""Reads from the old billing service, as frozen values. A missing or unreadable database is one line, not a trace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import DatabaseError

from billing_worker.core.errors import Unavailable
from billing_worker.core.periods import Period
from billing_worker.legacy.models import (
    LegacyAccount,
    LegacyInvoice,
    LegacyInvoiceLine,
    LegacyManagedJob,
    LegacyPlanSub,
    LegacyPlanUsage,
)


class LegacyUnavailable(Unavailable):
    """The old database does not answer or lacks a table. Check LEGACY_DATABASE_URL and the user's SELECT right."""

    code = "legacy_unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyCustomer:
    """Everything the old service knows about how an account is billed, rows in the order of their ids."""

    account: LegacyAccount
    fees: tuple[LegacyPlanSub, ...]
    tiers: tuple[LegacyPlanUsage, ...]
    jobs: tuple[LegacyManagedJob, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyBill:
    """One invoice of the old service with its lines; amounts are decimal major units."""

    invoice: LegacyInvoice
    lines: tuple[LegacyInvoiceLine, ...]


def get_customers() -> list[LegacyCustomer]:
    """Every account with its plans, tiers and jobs, by id, read in four queries.

    Raises:
        LegacyUnavailable: the database can't be read.
    """
    with reading_legacy():
        fees, tiers, jobs = defaultdict(list), defaultdict(list), defaultdict(list)
        for fee in LegacyPlanSub.objects.all():
            fees[fee.acct_id].append(fee)
        for tier in LegacyPlanUsage.objects.all():
            tiers[tier.acct_id].append(tier)
        for job in LegacyManagedJob.objects.all():
            jobs[job.acct_id].append(job)
        return [
            LegacyCustomer(
                account=account,
                fees=tuple(fees[account.acct_id]),
                tiers=tuple(tiers[account.acct_id]),
                jobs=tuple(jobs[account.acct_id]),
            )
            for account in LegacyAccount.objects.all()
        ]


def get_bills(
    period: Period, *, account_ids: Collection[int] | None = None, with_void: bool = False
) -> list[LegacyBill]:
    """The old service's invoices of a period, by id: drafts too (a shadow month is one), void ones only on request.

    Raises:
        LegacyUnavailable: the database can't be read.
    """
    with reading_legacy():
        invoices = LegacyInvoice.objects.filter(period=str(period))
        if account_ids is not None:
            invoices = invoices.filter(acct_id__in=account_ids)
        if not with_void:
            invoices = invoices.exclude(status="void")
        found = list(invoices)
        lines: defaultdict[int, list[LegacyInvoiceLine]] = defaultdict(list)
        for line in LegacyInvoiceLine.objects.filter(inv_id__in=invoices.order_by().values("inv_id")):
            lines[line.inv_id].append(line)
    return [LegacyBill(invoice=invoice, lines=tuple(lines[invoice.inv_id])) for invoice in found]


@contextmanager
def reading_legacy() -> Iterator[None]:
    """Turns the database's errors into `LegacyUnavailable`."""
    try:
        yield
    except DatabaseError as error:
        raise LegacyUnavailable(
            f"the legacy database can't be read ({error}): check LEGACY_DATABASE_URL"
        ) from error
