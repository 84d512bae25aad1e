"""Which lines of which finalized invoice a negative true-up takes back, and how much of it is left to take.

The tiers that lose units name the lines: those of the billed period at the same rate, then the rest of the meter's
lines, then earlier true-ups' own lines. One credit note is for one invoice, so the first that can give the whole
amount is taken. Rows only; Stripe has the last word when the credit note is made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Q, Sum

from billing_worker.core.errors import Conflict
from billing_worker.core.money import format_minor
from billing_worker.core.rating import USAGE_TYPES
from billing_worker.mirror.models import (
    StripeCreditNote,
    StripeCreditNoteLine,
    StripeInvoice,
    StripeInvoiceLine,
)
from billing_worker.mirror.states import InvoiceStatus, LineKind
from metering.true_ups.arithmetic import load_step
from metering.true_ups.billed import SAMPLED_KINDS, find_sampled_products
from metering.true_ups.models import TrueUp
from metering.true_ups.states import OPEN_STATES, TrueUpState

CREDITABLE = (InvoiceStatus.OPEN, InvoiceStatus.PAID, InvoiceStatus.UNCOLLECTIBLE)


class NothingToCredit(Conflict):
    """No single invoice has enough left to take the amount back from. Refund it at Stripe and reject the true-up."""

    code = "nothing_to_credit"


@dataclass(frozen=True, slots=True)
class CreditPart:
    """So much of one invoice line. `units` may be 0 where an amount has none of its own."""

    invoice_line: str
    amount_minor: int
    units: int


@dataclass(frozen=True, slots=True)
class CreditPlan:
    """The credit note to make: an invoice and the parts of its lines."""

    invoice_id: str
    parts: tuple[CreditPart, ...]

    def dump_lines(self) -> list[dict[str, Any]]:
        return [
            {"invoice_line": part.invoice_line, "amount_minor": part.amount_minor, "units": part.units}
            for part in self.parts
        ]


def plan_credit(true_up: TrueUp) -> CreditPlan:
    """Choose the invoice and its lines for a negative true-up.

    Raises:
        NothingToCredit: no invoice of the month's meter can be credited with the whole amount.
    """
    lines = _list_lines(true_up)
    left = _count_left(lines)
    by_invoice: defaultdict[str, list[StripeInvoiceLine]] = defaultdict(list)
    for line in lines:
        by_invoice[line.invoice.stripe_invoice_id].append(line)
    wanted = -true_up.amount_minor
    most = 0
    # The invoice that billed the period comes first, then the newest.
    order = sorted(by_invoice, key=lambda invoice_id: invoice_id != true_up.stripe_invoice_id)
    for invoice_id in order:
        room = _count_room(by_invoice[invoice_id][0].invoice)
        possible = min(sum(left[line.stripe_line_id] for line in by_invoice[invoice_id]), room)
        if possible >= wanted:
            parts = _allocate(true_up, by_invoice[invoice_id], left)
            return CreditPlan(invoice_id, tuple(parts))
        most = max(most, possible)
    raise NothingToCredit(
        f"{format_minor(wanted, true_up.currency)} can't be credited: at most"
        f" {format_minor(most, true_up.currency)} of one finalized invoice are left for {true_up.meter} in"
        f" {true_up.period}. Wait for the next invoice, or refund it at Stripe and reject this with the reason"
    )


def _list_lines(true_up: TrueUp) -> list[StripeInvoiceLine]:
    """The meter's lines of the period on invoices that can be credited: its own, and those of earlier true-ups."""
    found = (
        StripeInvoiceLine.objects.filter(
            invoice__account=true_up.payer_id,
            invoice__status__in=CREDITABLE,
            invoice__finalized_at__isnull=False,
            period_start=true_up.period_start,
            amount_minor__gt=0,
        )
        .exclude(kind__in=[LineKind.SUB, LineKind.MANAGED])
        .select_related("invoice")
        .order_by("-invoice__created_at", "position")
    )
    lines = list(found)
    sampled = find_sampled_products({line.product for line in lines if line.kind in SAMPLED_KINDS})
    return [line for line in lines if _name_meter(line, sampled) == true_up.meter]


def _name_meter(line: StripeInvoiceLine, sampled: dict[str, str]) -> str | None:
    if line.invoice_item:
        # An item counts if it is a true-up of ours, which says its meter.
        return line.metadata.get("meter") if line.metadata.get("true_up") else None
    return line.kind if line.kind in USAGE_TYPES else sampled.get(line.product)


def _count_left(lines: Sequence[StripeInvoiceLine]) -> dict[str, int]:
    """What of each line is not credited yet, decided credits that Stripe has not told us of included."""
    left = {line.stripe_line_id: line.amount_minor - line.discount_minor for line in lines}
    taken = (
        StripeCreditNoteLine.objects.filter(invoice_line__in=left, credit_note__status="issued")
        .order_by()
        .values_list("invoice_line")
        .annotate(sum=Sum("amount_minor"))
    )
    for line_id, amount in taken:
        left[line_id] -= amount
    for other in _list_unmirrored({line.invoice.stripe_invoice_id for line in lines}):
        for part in other.credit_lines:
            if part["invoice_line"] in left:
                left[part["invoice_line"]] -= part["amount_minor"]
    return {line_id: max(amount, 0) for line_id, amount in left.items()}


def _list_unmirrored(invoice_ids: set[str]) -> list[TrueUp]:
    decided = TrueUp.objects.filter(
        Q(state__in=OPEN_STATES) | Q(state=TrueUpState.SETTLED), credited_invoice_id__in=invoice_ids
    )
    known = set(
        StripeCreditNote.objects.filter(stripe_invoice_id__in=invoice_ids).values_list(
            "stripe_credit_note_id", flat=True
        )
    )
    return [true_up for true_up in decided if true_up.stripe_object_id not in known]


def _count_room(invoice: StripeInvoice) -> int:
    """What the whole invoice can still be credited with."""
    credited = StripeCreditNote.objects.filter(
        stripe_invoice_id=invoice.stripe_invoice_id, status="issued"
    ).aggregate(sum=Sum("total_minor"))["sum"]
    open_credits = sum(-other.amount_minor for other in _list_unmirrored({invoice.stripe_invoice_id}))
    return invoice.total_minor - (credited or 0) - open_credits


def _allocate(true_up: TrueUp, lines: Sequence[StripeInvoiceLine], left: dict[str, int]) -> list[CreditPart]:
    """Tier by tier from the highest: first from lines at the tier's rate, then from whatever is left."""
    parts: dict[str, list[int]] = {}
    open_minor = open_units = 0
    for step in reversed([load_step(row) for row in true_up.arithmetic]):
        minor, units = -step.difference_minor, -step.difference_units
        same = [line for line in lines if line.unit_amount_decimal == step.unit_amount_decimal]
        minor, units = _take(parts, same, left, minor, units, step.unit_amount_decimal)
        open_minor += minor
        open_units += units
    _take(parts, lines, left, open_minor, open_units, None)
    return [CreditPart(line_id, minor, units) for line_id, (minor, units) in parts.items()]


def _take(
    parts: dict[str, list[int]],
    lines: Sequence[StripeInvoiceLine],
    left: dict[str, int],
    minor: int,
    units: int,
    rate: Decimal | None,
) -> tuple[int, int]:
    """Take from the lines what they have left; returns what they could not give. Units go with the last taking."""
    for line in lines:
        if minor <= 0:
            break
        taken = min(left[line.stripe_line_id], minor)
        if not taken:
            continue
        moved = units if taken == minor else min(units, int(taken / rate) if rate else 0)
        found = parts.setdefault(line.stripe_line_id, [0, 0])
        found[0] += taken
        found[1] += moved
        left[line.stripe_line_id] -= taken
        minor -= taken
        units -= moved
    return minor, units
