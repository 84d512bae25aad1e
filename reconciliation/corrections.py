"""What corrects a month after it was billed: true-ups of late usage on later invoices, and credit notes.

Both are brought to the form of the lines that they correct, so that a month with corrections compares like one that was
right at once: a true-up's item is split into its tiers (its metadata holds them), a credit is taken from the line that
it names, and corrected usage is added up by rate.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db.models import Q, QuerySet

from billing_worker.core.money import round_half_up
from billing_worker.core.periods import Period
from billing_worker.core.rating import USAGE_TYPES
from billing_worker.mirror.models import StripeCreditNote, StripeCreditNoteLine, StripeInvoice
from reconciliation.ledger_lines import LedgerLine


def select_credits(period: Period, *, payer_ids: Collection[int]) -> QuerySet[StripeCreditNoteLine]:
    """Lines of issued credit notes that take back service of the period, with their note.

    A line that tells no period of its own (an amount without an invoice line) counts for the month in which the period
    of its note's invoice starts.
    """
    by_invoice = StripeInvoice.objects.filter(
        account__in=payer_ids, period_start__gte=period.start_at, period_start__lt=period.end_at
    )
    return (
        StripeCreditNoteLine.objects.filter(
            Q(period_start__gte=period.start_at, period_start__lt=period.end_at)
            | Q(
                period_start__isnull=True,
                credit_note__stripe_invoice_id__in=by_invoice.values("stripe_invoice_id"),
            ),
            credit_note__account__in=payer_ids,
            credit_note__status="issued",
        )
        .select_related("credit_note")
        .order_by("credit_note_id", "position")
    )


def split_true_up(line: LedgerLine, metadata: Mapping[str, str]) -> list[LedgerLine]:
    """The tiers of a true-up's item, if its metadata holds them and they add up to its amount; else the line alone.

    An item's own quantity is 1; the units are in the metadata.
    """
    if not metadata.get("true_up"):
        return [line]
    units = _read_int(metadata.get("units"))
    whole = replace(line, quantity=units or 0, unit_amount_decimal=None, is_correction=True)
    try:
        tiers = [entry.split(":") for entry in metadata.get("tiers", "").split(";") if entry]
        parts = [
            replace(
                whole,
                unit_amount_decimal=Decimal(rate),
                quantity=int(quantity),
                amount_minor=int(amount_minor),
            )
            for rate, quantity, amount_minor in tiers
        ]
    except (ValueError, InvalidOperation):
        return [whole]
    is_whole = sum(part.amount_minor for part in parts) == line.amount_minor
    if not is_whole or sum(part.quantity for part in parts) != units:
        return [whole]
    return _share_tax(parts, line.inclusive_tax_minor)


def _share_tax(parts: list[LedgerLine], tax_minor: int) -> list[LedgerLine]:
    """The tax in a line's price by its parts' amounts, whole minor units that add up to it."""
    shared, amount, told = [], sum(part.amount_minor for part in parts), 0
    reached = 0
    for part in parts:
        reached += part.amount_minor
        share = round_half_up(Decimal(tax_minor) * reached / amount) - told if amount else 0
        told += share
        shared.append(replace(part, inclusive_tax_minor=share))
    return shared


def read_inclusive_percent(taxes: Collection[Mapping[str, Any]]) -> Decimal | None:
    """The sum of the rates that are inside a Stripe line's price, None if not all of them are told."""
    told = [tax["percentage"] for tax in taxes if tax.get("inclusive")]
    return None if None in told else sum((Decimal(percentage) for percentage in told), Decimal(0))


def split_true_up_credit(
    note: StripeCreditNote, credit_lines: Sequence[StripeCreditNoteLine]
) -> list[LedgerLine] | None:
    """The tiers that a true-up's credit note takes back, negative; None for other notes, or if they don't add up."""
    if not note.metadata.get("tiers") or any(credit.discount_minor for credit in credit_lines):
        return None
    whole = LedgerLine(
        kind=note.metadata.get("kind", "custom"),
        amount_minor=-sum(credit.amount_minor for credit in credit_lines),
        quantity=0,
        unit_amount_decimal=None,
        description=note.memo,
        invoice=str(note),
        event_name=note.metadata.get("meter", ""),
        inclusive_tax_minor=-sum(credit.inclusive_tax_minor for credit in credit_lines),
        inclusive_percent=read_inclusive_percent(
            [tax for credit in credit_lines[:1] for tax in credit.taxes]
        ),
    )
    parts = split_true_up(whole, note.metadata)
    return None if parts[0].unit_amount_decimal is None else parts


def describe_credit(credit: StripeCreditNoteLine) -> LedgerLine:
    """A credit that names no line of the period: a line of its own that takes back."""
    return LedgerLine(
        kind=credit.kind,
        amount_minor=credit.discount_minor - credit.amount_minor,
        quantity=-(_read_int(credit.metadata.get("units")) or 0),
        unit_amount_decimal=None,
        description=credit.description,
        invoice=str(credit.credit_note),
        is_correction=True,
        event_name=credit.credit_note.metadata.get("meter", ""),
        inclusive_tax_minor=-credit.inclusive_tax_minor,
        inclusive_percent=read_inclusive_percent(credit.taxes),
    )


def reduce_line(line: LedgerLine, credit: StripeCreditNoteLine) -> LedgerLine:
    """The line less what is credited of it. Usage loses units too: those that the credit tells, else what they cost."""
    quantity = line.quantity
    if line.kind in (*USAGE_TYPES, "sampled"):
        quantity -= _count_units(line, credit)
    return replace(
        line,
        amount_minor=line.amount_minor - credit.amount_minor + credit.discount_minor,
        quantity=quantity,
        is_correction=True,
        inclusive_tax_minor=line.inclusive_tax_minor - credit.inclusive_tax_minor,
    )


def _count_units(line: LedgerLine, credit: StripeCreditNoteLine) -> int:
    told = _read_int(credit.metadata.get("units"))
    if told is not None:
        return told
    if not line.unit_amount_decimal:
        return 0
    units = credit.amount_minor / line.unit_amount_decimal
    return int(units) if units == units.to_integral_value() else 0


def merge_corrected(lines: list[LedgerLine]) -> list[LedgerLine]:
    """Usage of a kind that was corrected, added up by rate: one line for each tier, as if it had been right at once."""
    corrected = {line.kind for line in lines if line.is_correction and line.kind in USAGE_TYPES}
    if not corrected:
        return lines
    merged: dict[tuple[str, Decimal | None], LedgerLine] = {}
    others = []
    for line in lines:
        if line.kind not in corrected:
            others.append(line)
            continue
        key = (line.kind, line.unit_amount_decimal)
        held = merged.get(key)
        merged[key] = (
            line
            if held is None
            else replace(
                held,
                amount_minor=held.amount_minor + line.amount_minor,
                quantity=held.quantity + line.quantity,
                inclusive_tax_minor=held.inclusive_tax_minor + line.inclusive_tax_minor,
            )
        )
    return [*others, *merged.values()]


def _read_int(text: str | None) -> int | None:
    try:
        return int(str(text)) if text else None
    except ValueError:
        return None
