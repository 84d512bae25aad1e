"""The months before the period, billed by the old rules from the plan and the status of their time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from sandbox.legacy.ledger import Invoice
from sandbox.legacy.months import Month
from sandbox.legacy.rules import Account, Job, Line, compute_invoice_lines, job_line
from sandbox.legacy.specs import AccountSpec, JobSpec
from sandbox.legacy.stream import Stream
from sandbox.legacy.usage import make_month_usage


@dataclass(frozen=True)
class NumberedJob:
    """A job of the roster with the id that it has in the database."""

    job_id: int
    acct_id: int
    spec: JobSpec

    def as_rule(self, status: str) -> Job:
        """The job as the rules see it when it has that status."""
        return Job(self.job_id, self.spec.title, self.spec.amount, status, self.spec.completed_at)


def make_history(
    roster: Sequence[AccountSpec],
    jobs: Sequence[NumberedJob],
    *,
    period: Month,
    months: int,
    seed: int,
    on_month: Callable[[], None] = lambda: None,
) -> list[Invoice]:
    """The invoices of the `months` months before the period, oldest first, not numbered yet."""
    jobs_of: dict[int, list[NumberedJob]] = defaultdict(list)
    for job in jobs:
        jobs_of[job.acct_id].append(job)
    children_of: dict[int, list[AccountSpec]] = defaultdict(list)
    for spec in roster:
        if spec.parent_acct_id is not None:
            children_of[spec.parent_acct_id].append(spec)

    def account_then(spec: AccountSpec, month: Month) -> Account:
        usage = make_month_usage(spec, month, period, seed)
        return _account_then(spec, jobs_of[spec.acct_id], month, usage)

    invoices: list[Invoice] = []
    for back in range(months, 0, -1):
        month = period.plus(-back)
        for spec in roster:
            if spec.parent_acct_id is None:
                members = [account_then(child, month) for child in children_of[spec.acct_id]]
                payer = account_then(spec, month)
                made = _make_month(spec, jobs_of[spec.acct_id], payer, members, month)
                for invoice in made:
                    _settle(invoice, month, period, seed)
                invoices += made
        on_month()
    return invoices


def _make_month(
    spec: AccountSpec, jobs: Sequence[NumberedJob], payer: Account, members: Sequence[Account], month: Month
) -> list[Invoice]:
    lines = compute_invoice_lines(payer, members, month)
    if not lines:
        return []
    for job in jobs:
        done = job.spec.completed_at
        if job.spec.billed_in == month and done and not month.holds(done.date()):
            lines.append(job_line(job.as_rule("done"), payer, payer))
    lines += [
        Line("custom", custom.description, 1, custom.amount, custom.amount)
        for custom in spec.customs
        if custom.month == month
    ]
    invoices = [Invoice(spec.acct_id, month, spec.currency, lines)]
    if spec.off_cycle == month:
        invoices = _split_managed(invoices[0])
    if spec.reissued == month:
        wrong = Invoice(spec.acct_id, month, spec.currency, [*lines, lines[0]], status="void")
        invoices.insert(0, wrong)
    return invoices


def _account_then(
    spec: AccountSpec, jobs: Sequence[NumberedJob], month: Month, usage: dict[str, int]
) -> Account:
    return Account(
        acct_id=spec.acct_id,
        name=spec.name,
        currency=spec.currency,
        created_on=spec.created_on,
        status=spec.status_in(month),
        parent_acct_id=spec.parent_acct_id,
        fees=spec.fees,
        tiers=spec.tiers,
        jobs=tuple(job.as_rule("done") for job in jobs if job.spec.billed_in == month),
        usage=usage,
    )


def _split_managed(invoice: Invoice) -> list[Invoice]:
    """The managed lines on an invoice of their own: a period can hold more than one."""
    managed = [line for line in invoice.lines if line.kind == "managed"]
    rest = [line for line in invoice.lines if line.kind != "managed"]
    return [replace(invoice, lines=part) for part in (rest, managed) if part]


def _settle(invoice: Invoice, month: Month, period: Month, seed: int) -> None:
    """Past invoices are paid within weeks; of the last month's, every third is still waiting."""
    if invoice.status == "void":
        return
    stream = Stream(seed, "paid", invoice.acct_id, month)
    if month.plus(1) == period and stream.below(3) == 0:
        invoice.status = "sent"
        return
    invoice.status = "paid"
    invoice.paid_at = invoice.issued_at + timedelta(days=stream.between(1, 20), minutes=stream.below(600))
