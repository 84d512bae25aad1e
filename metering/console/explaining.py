"""Why this amount: each line of an estimate with the arithmetic that leads to it, in words and figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing_worker.catalog.sampled.charging import SampledCharges
from billing_worker.core.expected import ExpectedLine
from billing_worker.core.money import format_minor, get_exponent
from billing_worker.core.rating import USAGE_TYPES, Tier, TierCharge, UsageType
from metering.estimate import Estimate, counts_usage

PER_MILLE = 1000


@dataclass(frozen=True, slots=True)
class ExplainedLine:
    """A line of the bill, and how its amount comes about."""

    title: str
    arithmetic: str
    amount: str


@dataclass(frozen=True, slots=True)
class ExplainedGroup:
    """Lines that belong together. `note` says what goes into all of them, or why there is none."""

    title: str
    note: str
    lines: tuple[ExplainedLine, ...]
    subtotal: str


def explain_estimate(estimate: Estimate) -> tuple[ExplainedGroup, ...]:
    """Flat fees, each usage type that has usage or a tier table, each sampled meter that was used, managed jobs."""
    groups = [_explain_flat(estimate)]
    groups += [group for kind in USAGE_TYPES if (group := _explain_usage(estimate, kind)) is not None]
    groups += [_explain_sampled(estimate, charges) for charges in estimate.sampled]
    groups.append(_explain_jobs(estimate))
    return tuple(groups)


def _explain_flat(estimate: Estimate) -> ExplainedGroup:
    lines = [line for line in estimate.lines if line.kind == "sub"]
    explained = [_explain_fee(estimate, line) for line in lines]
    note = "" if lines else "Nobody on this bill has a plan with a flat fee in force."
    return _group(estimate, "Flat fee", note, lines, explained)


def _explain_fee(estimate: Estimate, line: ExpectedLine) -> ExplainedLine:
    terms = estimate.terms[line.account_id]
    rate = _format_exact(line.unit_amount_decimal, estimate.currency)
    if terms.start_date is None:
        arithmetic = f"{rate} a month"
    else:
        days = (estimate.period.end_date - terms.start_date).days
        exact = line.unit_amount_decimal * days / estimate.period.days
        arithmetic = (
            f"{rate} × {days} of {estimate.period.days} days (starts {terms.start_date})"
            f"{_explain_rounding(exact, line.amount_minor, estimate.currency)}"
        )
    return ExplainedLine(
        f"{terms.plan_name or 'Flat fee'}{_name_member(estimate, line.account_id)}",
        arithmetic,
        format_minor(line.amount_minor, estimate.currency),
    )


def _explain_usage(estimate: Estimate, kind: UsageType) -> ExplainedGroup | None:
    tiers = estimate.terms[estimate.payer.pk].tiers.get(kind, ())
    held = {member.pk: estimate.usage[member.pk][kind] for member in estimate.members}
    if not tiers and not any(held.values()):
        return None
    lines = [line for line in estimate.lines if line.kind == kind]
    explained = [_explain_tier(line, tiers, estimate.currency) for line in lines]
    return _group(estimate, f"Usage {kind}", _note_usage(estimate, held, tiers), lines, explained)


def _explain_sampled(estimate: Estimate, charges: SampledCharges) -> ExplainedGroup:
    held = {
        member.pk: units
        for member in estimate.members
        if (units := estimate.sampled_units.get((member.pk, charges.event_name), 0))
    }
    billed = {pk: units for pk, units in held.items() if counts_usage(estimate.terms, pk, estimate.payer.pk)}
    note = f"{charges.units:,} whole units"
    if len(estimate.members) > 1:
        note += f" = {' + '.join(f'{units:,} of {pk}' for pk, units in billed.items())}"
    note += "".join(
        f"; {units:,} of {pk} are not billed ({_say_why_not(estimate, pk)})"
        for pk, units in held.items()
        if pk not in billed
    )
    if not charges.tiers:
        note += f"; no price is configured in {estimate.currency.upper()}, so they are counted and not billed"
    lines = tuple(_explain_sampled_tier(charge, charges, estimate.currency) for charge in charges.charges)
    return ExplainedGroup(
        charges.title, f"{note}.", lines, format_minor(charges.amount_minor, estimate.currency)
    )


def _explain_sampled_tier(charge: TierCharge, charges: SampledCharges, currency: str) -> ExplainedLine:
    exact = charge.quantity * charge.unit_amount_decimal
    rate = _format_exact(charge.unit_amount_decimal, currency)
    index = charge.tier_index
    return ExplainedLine(
        f"Tier {index + 1}, {describe_tier(charges.tiers, index)}"
        if len(charges.tiers) > 1
        else charges.title,
        f"{charge.quantity:,} × {rate}{_explain_rounding(exact, charge.amount_minor, currency)}",
        format_minor(charge.amount_minor, currency),
    )


def _note_usage(estimate: Estimate, held: dict[int, int], tiers: Sequence[Tier]) -> str:
    payer = estimate.payer.pk
    if not tiers:
        return f"{sum(held.values()):,} impressions held; the plan has no price for them, so they are not billed."
    if estimate.terms[payer].is_suspended:
        return f"{sum(held.values()):,} impressions held; the payer is suspended, so none are billed."
    billed = {pk: units for pk, units in held.items() if counts_usage(estimate.terms, pk, payer)}
    note = f"{sum(billed.values()):,} impressions"
    if len(estimate.members) > 1:
        shares = " + ".join(f"{units:,} of {pk}" for pk, units in billed.items() if units)
        note += f" = {shares}, through the payer's tiers together" if shares else ""
    left_out = {pk: units for pk, units in held.items() if pk not in billed and units}
    note += "".join(
        f"; {units:,} of {pk} are not billed ({_say_why_not(estimate, pk)})" for pk, units in left_out.items()
    )
    return f"{note}."


def _say_why_not(estimate: Estimate, account_id: int) -> str:
    return "suspended" if estimate.terms[account_id].is_suspended else "not open in this month"


def _explain_tier(line: ExpectedLine, tiers: Sequence[Tier], currency: str) -> ExplainedLine:
    index = line.tier_index or 0
    exact = line.quantity * line.unit_amount_decimal
    rate = _format_exact(line.unit_amount_decimal * PER_MILLE, currency)
    return ExplainedLine(
        f"Tier {index + 1}, {describe_tier(tiers, index)}",
        f"{line.quantity:,} × {rate} per 1,000{_explain_rounding(exact, line.amount_minor, currency)}",
        format_minor(line.amount_minor, currency),
    )


def describe_tier(tiers: Sequence[Tier], index: int) -> str:
    """Which units of the month fall into a tier: `1 to 100,000`, `from 100,001`."""
    first = ((tiers[index - 1].up_to or 0) if index else 0) + 1
    last = tiers[index].up_to
    return f"from {first:,}" if last is None else f"{first:,} to {last:,}"


def _explain_jobs(estimate: Estimate) -> ExplainedGroup:
    lines = [line for line in estimate.lines if line.kind == "managed"]
    explained = list(_explain_each_job(estimate, lines))
    note = "" if lines else "No job was completed in this month."
    return _group(estimate, "Managed services", note, lines, explained)


def _explain_each_job(estimate: Estimate, lines: Sequence[ExpectedLine]) -> Iterator[ExplainedLine]:
    for line in lines:
        job = estimate.jobs[line.reference]
        yield ExplainedLine(
            f"{job.title}{_name_member(estimate, line.account_id)}",
            f"job {job.pk}, completed {job.completed_at:%Y-%m-%d}, its exact amount",
            format_minor(line.amount_minor, estimate.currency),
        )


def _group(
    estimate: Estimate, title: str, note: str, lines: Sequence[ExpectedLine], explained: Sequence[ExplainedLine]
) -> ExplainedGroup:  # fmt: skip
    subtotal = sum(line.amount_minor for line in lines)
    return ExplainedGroup(title, note, tuple(explained), format_minor(subtotal, estimate.currency))


def _name_member(estimate: Estimate, account_id: int) -> str:
    """Whose line it is, where more than one account is on the bill."""
    if len(estimate.members) == 1:
        return ""
    name = next(member.name for member in estimate.members if member.pk == account_id)
    return f", {name} ({account_id})"


def _explain_rounding(exact: Decimal, amount_minor: int, currency: str) -> str:
    if exact == amount_minor:
        return ""
    places = get_exponent(currency)
    shown = exact.scaleb(-places).quantize(Decimal(1).scaleb(-places - 4))
    return f" = {_trim(shown, places)}, rounded"


def _format_exact(rate_minor: Decimal, currency: str) -> str:
    places = get_exponent(currency)
    return f"{_trim(rate_minor.scaleb(-places), places)} {currency.upper()}"


def _trim(amount: Decimal, places: int) -> str:
    """All figures that count, and at least the currency's places: `2.00`, `0.0625`."""
    whole, _, fraction = f"{amount:,f}".partition(".")
    fraction = fraction.rstrip("0").ljust(places, "0")
    return f"{whole}.{fraction}" if fraction else whole
