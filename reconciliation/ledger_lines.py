"""What a ledger says of one payer and period: the common form that both sides are brought to before they meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from billing_worker.core.rating import Tier

#: Stripe's own precision of a unit price. https://docs.stripe.com/api/prices/object
RATE_PLACES: Final = Decimal(1).scaleb(-12)


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """One billed line: what it is (`sub`, `ST`, `RM`, `CV`, `managed`, or a kind that only that ledger knows).

    `unit_amount_decimal` is minor units per unit; None where the ledger does not tell. `is_correction`: it came (or was
    changed) after the month was billed, so that one tier may stand on several lines. `event_name` says which sampled
    meter's a `sampled` line is.

    Amounts are without taxes, as legacy's are. `inclusive_tax_minor` is what was in Stripe's price beside them, and
    `inclusive_percent` at which rate (None: not told).
    """

    kind: str
    amount_minor: int
    quantity: int
    unit_amount_decimal: Decimal | None
    description: str = ""
    invoice: str = ""
    job_id: int | None = None
    is_correction: bool = False
    event_name: str = ""
    inclusive_tax_minor: int = 0
    inclusive_percent: Decimal | None = None

    def take_tax_out(self) -> LedgerLine:
        """The line without the tax in its price, at the price without it as far as its rate is told."""
        if not self.inclusive_tax_minor:
            return self
        rate = self.unit_amount_decimal
        if rate is not None:
            percent = self.inclusive_percent
            rate = (
                None if percent is None else (rate * 100 / (100 + percent)).quantize(RATE_PLACES).normalize()
            )
        amount = self.amount_minor - self.inclusive_tax_minor
        return replace(self, amount_minor=amount, unit_amount_decimal=rate)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """Everything one ledger bills a payer for a period in one currency.

    `taxes` holds minor units by invoice. `problems` say why the entry can't be trusted; it is no evidence then.
    Lines of sampled meters, which the old service never knew, stand apart in `sampled`: they are compared with what our
    own samples come to. `sampled_tax_minor` is the tax on them.
    """

    account_id: int
    currency: str
    lines: tuple[LedgerLine, ...] = ()
    taxes: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    sampled: tuple[LedgerLine, ...] = ()
    sampled_tax_minor: int = 0

    @property
    def tax_minor(self) -> int:
        return sum(self.taxes.values())

    @property
    def total_minor(self) -> int:
        """Tax included, sampled meters not."""
        return sum(line.amount_minor for line in self.lines) + self.tax_minor

    @property
    def sampled_minor(self) -> int:
        """What is billed for sampled meters, tax included."""
        return sum(line.amount_minor for line in self.sampled) + self.sampled_tax_minor

    @property
    def invoices(self) -> tuple[str, ...]:
        """The invoices that the lines stand on, in order of first appearance. A requested job stands on none."""
        return tuple(dict.fromkeys(line.invoice for line in self.lines if line.invoice))

    def narrow(self, invoice: str) -> LedgerEntry:
        """The part of the entry that stands on one invoice, with what stands on none."""
        return replace(
            self,
            lines=tuple(line for line in self.lines if line.invoice in (invoice, "")),
            taxes={name: tax for name, tax in self.taxes.items() if name in (invoice, "")},
        )


@dataclass(frozen=True, slots=True)
class JobTerms:
    """A managed job as the plan tables know it. `is_due` says that it belongs into the period.

    `is_requested`: it was asked for over our API, so the old service knows nothing of it and its record is the arbiter.
    """

    job_id: int
    title: str
    amount_minor: int
    is_due: bool
    is_requested: bool = False


@dataclass(frozen=True, slots=True)
class PayerTerms:
    """What the imported plan says a payer owes: the arbiter when the two sides disagree.

    `flat_fees_minor` holds the fee of the payer and of each account billed through it, prorated. `tiers` are by usage
    type; they are empty for a suspended payer, whose usage is not billed.
    """

    flat_fees_minor: tuple[int, ...] = ()
    tiers: Mapping[str, tuple[Tier, ...]] = field(default_factory=dict)
    jobs: tuple[JobTerms, ...] = ()
