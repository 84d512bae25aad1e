"""Differences planted in the old service's month, each of a kind that real moves have met.

Only accounts of cohort 3 are touched, each by one difference, so that a reconciliation can be checked against the list.
A difference is what the old service billed minus what the rules give for the usage as first exported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from decimal import Decimal

from sandbox.legacy.database import Database
from sandbox.legacy.errors import LegacyError
from sandbox.legacy.ledger import Invoice, group_by_payer, load_accounts
from sandbox.legacy.months import Month, naive_utc
from sandbox.legacy.rules import (
    PER_MILLE,
    USAGE_TYPES,
    Account,
    Job,
    Line,
    compute_invoice_lines,
    job_line,
    round_amount,
)
from sandbox.legacy.schema import IMPRESSIONS

CREDIT = {
    "USD": Decimal("-75.00"),
    "EUR": Decimal("-75.00"),
    "GBP": Decimal("-75.00"),
    "JPY": Decimal("-8000.00"),
}


@dataclass(frozen=True)
class Planted:
    """One planted difference, signed: positive where the old service billed more than the rules say."""

    acct_id: int
    kind: str
    difference_minor: int
    currency: str
    note: str

    def as_dict(self) -> dict[str, object]:
        """The difference as it is written to the list."""
        return asdict(self)


@dataclass
class _Scene:
    """What a planter works on: one account, its invoice by the rules, the month, the database."""

    database: Database
    month: Month
    account: Account
    invoice: Invoice


# A planter returns the invoices that take the place of the scene's one, and a note; None if the account lacks what
# the difference needs.
Planter = Callable[[_Scene], tuple[list[Invoice], str] | None]


def plant_differences(
    database: Database,
    month: Month,
    accounts: Sequence[Account],
    invoices: Sequence[Invoice],
    cohort: Sequence[int],
) -> tuple[list[Invoice], list[Planted]]:
    """Plant one difference of each kind, each on another account of the cohort; the caller holds the transaction.

    Raises: LegacyError if the cohort has no account left that a kind fits.
    """
    payers = {payer.acct_id: payer for payer, children in group_by_payer(accounts) if not children}
    standing = {invoice.acct_id: [invoice] for invoice in invoices}
    free = [acct_id for acct_id in cohort if acct_id in payers and acct_id in standing]
    planted = []
    for kind, planter in PLANTERS.items():
        for acct_id in free:
            before = standing[acct_id][0]
            result = planter(_Scene(database, month, payers[acct_id], before))
            if result is None:
                continue
            standing[acct_id], note = result
            difference = sum(invoice.total_minor for invoice in standing[acct_id]) - before.total_minor
            planted.append(Planted(acct_id, kind, difference, before.currency, note))
            free.remove(acct_id)
            break
        else:
            raise LegacyError(f"no account of cohort 3 is left for {kind!r}: generate with more --accounts")
    changed = [invoice for kept in standing.values() for invoice in kept]
    return changed, sorted(planted, key=lambda difference: difference.acct_id)


def _plant_managed_amount(scene: _Scene) -> tuple[list[Invoice], str] | None:
    """A managed job billed with another amount than the job's."""
    line = _find_line(scene.invoice, lambda line: line.kind == "managed")
    if line is None:
        return None
    agreed = round_amount(line.amount * Decimal("0.9"), scene.invoice.currency)
    changed = replace(line, unit_rate=agreed, amount=agreed)
    note = f"job {line.job_id} is priced {line.amount}, the invoice bills {agreed}"
    return [_with_line(scene.invoice, line, changed)], note


def _plant_managed_missing(scene: _Scene) -> tuple[list[Invoice], str] | None:
    """A managed job that was done in the month and left off the invoice."""
    line = _find_line(scene.invoice, lambda line: line.kind == "managed")
    if line is None:
        return None
    note = f"job {line.job_id} was done in {scene.month} for {line.amount} and is not on the invoice"
    return [_with_line(scene.invoice, line)], note


def _plant_managed_twice(scene: _Scene) -> tuple[list[Invoice], str] | None:
    """A managed job billed again although an earlier invoice holds it."""
    billed = [job for job in scene.account.jobs if job.status == "billed" and _was_billed_before(scene, job)]
    if not billed:
        return None
    job = billed[-1]
    line = job_line(job, scene.account, scene.account)
    note = f"job {job.job_id} over {job.amount} was billed on an earlier invoice and is billed again"
    return [replace(scene.invoice, lines=[*scene.invoice.lines, line])], note


def _plant_usage_restated(scene: _Scene) -> tuple[list[Invoice], str] | None:
    """A day restated after the first load: the old service billed the new figure."""
    line = _find_line(scene.invoice, _is_paid_usage)
    if line is None:
        return None
    day = scene.month.day(18)
    rows = scene.database.rows(
        IMPRESSIONS, "acct_id = ? AND day = ? AND usage_type = ?", (scene.account.acct_id, day, line.kind)
    )
    if not rows:
        return None
    old = rows[0]["impressions"]
    new = old + old // 4 + 25_000
    scene.database.execute(
        "UPDATE impressions_daily SET impressions = ? WHERE acct_id = ? AND day = ? AND usage_type = ?",
        (new, scene.account.acct_id, day, line.kind),
    )
    reloaded_at = naive_utc(scene.month.next_first, 2) + timedelta(minutes=40)
    scene.database.execute(
        "UPDATE impressions_load_log SET completed_at = ? WHERE day = ?", (reloaded_at, day)
    )
    accounts = {account.acct_id: account for account in load_accounts(scene.database, scene.month)}
    lines = compute_invoice_lines(accounts[scene.account.acct_id], [], scene.month)
    note = f"{line.kind} impressions of {day} were restated from {old} to {new} after the load, and billed so"
    return [replace(scene.invoice, lines=lines)], note


def _plant_rate_edited(scene: _Scene) -> tuple[list[Invoice], str] | None:
    """A usage line whose rate somebody changed by hand."""
    line = _find_line(scene.invoice, _is_paid_usage)
    if line is None:
        return None
    rate = (line.unit_rate * Decimal("0.8")).quantize(Decimal("0.01"))
    amount = round_amount(line.quantity * rate / PER_MILLE, scene.invoice.currency)
    note = f"{line.description}: the plan's rate is {line.unit_rate}, the invoice bills {rate}"
    return [_with_line(scene.invoice, line, replace(line, unit_rate=rate, amount=amount))], note


def _plant_invoice_duplicate(scene: _Scene) -> tuple[list[Invoice], str]:
    """The same invoice twice in the period."""
    return [scene.invoice, replace(scene.invoice)], f"{scene.month} was billed twice with the same lines"


def _plant_invoice_missing(scene: _Scene) -> tuple[list[Invoice], str]:
    """No invoice at all on the old side."""
    return [], f"{scene.month} has no invoice although the rules give {scene.invoice.total}"


def _plant_custom_line(scene: _Scene) -> tuple[list[Invoice], str]:
    """A hand-written credit that no plan table explains."""
    credit = CREDIT[scene.invoice.currency]
    line = Line("custom", "Loyalty credit", 1, credit, credit)
    changed = replace(scene.invoice, lines=[*scene.invoice.lines, line])
    return [changed], f"a hand-written loyalty credit of {credit} that no plan table explains"


# The choosiest kinds pick their account first.
PLANTERS: dict[str, Planter] = {
    "managed_amount": _plant_managed_amount,
    "managed_missing": _plant_managed_missing,
    "usage_restated": _plant_usage_restated,
    "rate_edited": _plant_rate_edited,
    "managed_twice": _plant_managed_twice,
    "custom_line": _plant_custom_line,
    "invoice_duplicate": _plant_invoice_duplicate,
    "invoice_missing": _plant_invoice_missing,
}


def _is_paid_usage(line: Line) -> bool:
    return line.kind in USAGE_TYPES and line.amount > 0


def _find_line(invoice: Invoice, fits: Callable[[Line], bool]) -> Line | None:
    return next((line for line in invoice.lines if fits(line)), None)


def _with_line(invoice: Invoice, old: Line, *new: Line) -> Invoice:
    """The invoice with one line replaced, or dropped if nothing takes its place."""
    lines = [part for line in invoice.lines for part in (new if line is old else (line,))]
    return replace(invoice, lines=lines)


def _was_billed_before(scene: _Scene, job: Job) -> bool:
    """Whether an invoice of an earlier month holds the job."""
    found = scene.database.query(
        "SELECT i.period FROM managed_service_job j JOIN billing_invoice i ON i.inv_id = j.billed_inv_id"
        " WHERE j.job_id = ?",
        (job.job_id,),
    )
    return bool(found) and str(found[0][0]) < str(scene.month)
