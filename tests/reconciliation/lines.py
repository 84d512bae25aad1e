"""Ledger lines for tests, as short as they can be told. Amounts are minor units, rates minor units per unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from billing_worker.core.rating import Tier
from reconciliation.ledger_lines import JobTerms, LedgerEntry, LedgerLine, PayerTerms


def fee(amount: int, *, quantity: int = 1, invoice: str = "A-1") -> LedgerLine:
    return LedgerLine("sub", amount, quantity, Decimal(amount), "Monthly plan", invoice)


def usage(kind: str, quantity: int, rate: str | None, amount: int, *, invoice: str = "A-1") -> LedgerLine:
    return LedgerLine(
        kind, amount, quantity, None if rate is None else Decimal(rate), f"{kind} impressions", invoice
    )


def job(job_id: int | None, amount: int, *, invoice: str = "A-1") -> LedgerLine:
    return LedgerLine("managed", amount, 1, Decimal(amount), "Managed service", invoice, job_id)


def custom(
    amount: int, text: str = "Loyalty credit", *, kind: str = "custom", invoice: str = "A-1"
) -> LedgerLine:
    return LedgerLine(kind, amount, 1, Decimal(amount), text, invoice)


def ledger(
    *lines: LedgerLine, currency: str = "usd", tax: int = 0, problems: tuple[str, ...] = ()
) -> LedgerEntry:
    return LedgerEntry(1001, currency, lines, {"A-1": tax} if tax else {}, problems)


def terms(
    *,
    fees: tuple[int, ...] = (),
    tiers: Mapping[str, Sequence[tuple[int | None, str]]] | None = None,
    jobs: tuple[JobTerms, ...] = (),
) -> PayerTerms:
    return PayerTerms(
        fees,
        {
            kind: tuple(Tier(up_to, Decimal(rate)) for up_to, rate in steps)
            for kind, steps in (tiers or {}).items()
        },
        jobs,
    )
