"""Compare what two ledgers bill for one usage type: quantities first, then rates, then the rounding. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import zip_longest

from billing_worker.core.money import format_minor, get_exponent
from billing_worker.core.rating import Tier
from reconciliation.ledger_lines import LedgerLine
from reconciliation.states import DriftCause


def compare_usage(
    kind: str,
    legacy: Sequence[LedgerLine],
    stripe: Sequence[LedgerLine],
    *,
    tiers: Sequence[Tier],
    currency: str,
) -> tuple[DriftCause, int, str] | None:
    """Cause, gross difference in minor units and explanation; None if quantities and amounts agree tier by tier.

    A tier without units is no line (Stripe shows an unused meter as a line of quantity 0, legacy shows none). Where
    both sides have the same units for the same money, differently noted rates don't matter.
    """
    theirs = [line for line in legacy if line.quantity or line.amount_minor]
    ours = [line for line in stripe if line.quantity or line.amount_minor]
    legacy_units, stripe_units = _count_units(theirs), _count_units(ours)
    pairs = _pair_tiers(theirs, ours)
    gross = sum(abs(_amount(own) - _amount(other)) for other, own in pairs)
    if not gross and legacy_units == stripe_units:
        return None
    strange = _describe_strange_rates(theirs, ours, tiers, currency)
    if legacy_units != stripe_units:
        text = (
            f"legacy billed {legacy_units:,} {kind} impressions, Stripe {stripe_units:,} "
            f"({stripe_units - legacy_units:+,})"
        )
        return DriftCause.QUANTITY_DIFFERS, gross, "; ".join([text, *strange])
    if _list_rates(theirs) != _list_rates(ours):
        return (
            DriftCause.RATE_DIFFERS,
            gross,
            "; ".join(strange) or f"the {kind} impressions fell into other tiers",
        )
    text = (
        f"{legacy_units:,} {kind} impressions at the same rates on both sides, "
        f"amounts apart by {format_minor(gross, currency)}"
    )
    return DriftCause.ROUNDING, gross, text


def _pair_tiers(
    legacy: list[LedgerLine], stripe: list[LedgerLine]
) -> list[tuple[LedgerLine | None, LedgerLine | None]]:
    """Lines of equal rate meet each other; the others in the order in which they stand."""
    pairs: list[tuple[LedgerLine | None, LedgerLine | None]] = []
    rest = list(stripe)
    unmatched = []
    for line in legacy:
        twin = next((other for other in rest if _rate(other) == _rate(line)), None)
        if twin is None:
            unmatched.append(line)
        else:
            rest.remove(twin)
            pairs.append((line, twin))
    return [*pairs, *zip_longest(unmatched, rest)]


def _count_units(lines: Iterable[LedgerLine]) -> int:
    return sum(line.quantity for line in lines)


def _amount(line: LedgerLine | None) -> int:
    return line.amount_minor if line else 0


def _rate(line: LedgerLine) -> Decimal | None:
    return line.unit_amount_decimal


def _list_rates(lines: Iterable[LedgerLine]) -> list[tuple[Decimal, int]]:
    """Rate and units of each line, ascending; a line without a rate is at the one that its amount comes to."""
    return sorted((_get_effective_rate(line), line.quantity) for line in lines)


def _get_effective_rate(line: LedgerLine) -> Decimal:
    if line.unit_amount_decimal is not None:
        return line.unit_amount_decimal
    return Decimal(line.amount_minor) / line.quantity if line.quantity else Decimal(0)


def _describe_strange_rates(
    legacy: list[LedgerLine], stripe: list[LedgerLine], tiers: Sequence[Tier], currency: str
) -> list[str]:
    """Rates that the imported plan does not hold, by the side that used them."""
    plan = {tier.unit_amount_decimal for tier in tiers}
    found = []
    for side, lines in (("legacy", legacy), ("Stripe", stripe)):
        rates = sorted({rate for line in lines if (rate := _rate(line)) is not None} - plan)
        if rates:
            listed = ", ".join(_format_rate(rate, currency) for rate in rates)
            found.append(f"{side} used {listed} per 1,000, which is not in the imported plan")
    return found


def _format_rate(rate: Decimal, currency: str) -> str:
    """Minor units per impression as people know it: `2.40 USD` per 1,000."""
    major = (rate * 1000).scaleb(-get_exponent(currency)).normalize()
    places = max(-int(major.as_tuple().exponent), 2)
    return f"{major:.{places}f} {currency.upper()}"
