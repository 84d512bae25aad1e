"""Compare what Stripe bills for sampled meters with what our own samples come to. Pure; the old service has no part.

The old service never measured these, so the arbiter is the month's buckets and the configured prices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from billing_worker.catalog.sampled.charging import SampledCharges
from billing_worker.core.money import format_minor
from reconciliation.ledger_lines import LedgerEntry, LedgerLine
from reconciliation.matching import Difference
from reconciliation.states import DriftCause

KIND = "sampled"


def compare_sampled(
    *, expected: Sequence[SampledCharges], stripe: LedgerEntry | None, currency: str
) -> Difference | None:
    """The difference over all sampled meters of a payer's month, None if each agrees in units and money.

    Of an entry with problems nothing is compared: the problem is a difference already. Where no price is configured
    nothing is expected, whatever was used. Where the payer's subscription lacks a price, the units were not billed.
    """
    if stripe is not None and stripe.problems:
        return None
    lines = stripe.sampled if stripe else ()
    priced = {charges.event_name: charges for charges in expected if charges.tiers}
    names = sorted(priced.keys() | {line.event_name for line in lines if line.quantity or line.amount_minor})
    found = [
        _compare_meter(name, priced.get(name), [line for line in lines if line.event_name == name], currency)
        for name in names
    ]
    differing = [one for one in found if one is not None]
    if not differing:
        return None
    causes = {cause for cause, _, _ in differing}
    return Difference(
        kind=KIND,
        cause=DriftCause.QUANTITY_DIFFERS if DriftCause.QUANTITY_DIFFERS in causes else causes.pop(),
        legacy_minor=sum(charges.amount_minor for charges in priced.values()),
        stripe_minor=_sum(lines),
        gross_minor=sum(gross for _, gross, _ in differing),
        explanation="; ".join(text for _, _, text in differing),
    )


def _compare_meter(
    name: str, charges: SampledCharges | None, lines: Sequence[LedgerLine], currency: str
) -> tuple[DriftCause, int, str] | None:
    title = charges.title if charges else name or "a sampled meter that is not ours"
    units, amount = (charges.units, charges.amount_minor) if charges else (0, 0)
    billed_units, billed = sum(line.quantity for line in lines), _sum(lines)
    gross = abs(billed - amount)
    if units != billed_units:
        text = (
            f"our samples hold {units:,} {title}, Stripe billed {billed_units:,} ({billed_units - units:+,})"
        )
        return DriftCause.QUANTITY_DIFFERS, gross, text
    if not gross:
        return None
    ours, theirs = format_minor(amount, currency), format_minor(billed, currency)
    rates = {charge.unit_amount_decimal for charge in charges.charges} if charges else set()
    used = {
        line.unit_amount_decimal for line in lines if line.quantity and line.unit_amount_decimal is not None
    }
    cause = DriftCause.RATE_DIFFERS if used - rates else DriftCause.ROUNDING
    return cause, gross, f"{units:,} {title} cost {ours} by the configured price, Stripe billed {theirs}"


def _sum(lines: Iterable[LedgerLine]) -> int:
    return sum(line.amount_minor for line in lines)
