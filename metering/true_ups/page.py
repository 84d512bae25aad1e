"""What the page of a true-up shows, gathered in one place so that the template only lays it out."""

from __future__ import annotations

from dataclasses import dataclass

from billing_worker.core.money import format_minor
from metering.true_ups.arithmetic import TierStep, load_step
from metering.true_ups.models import TrueUp, TrueUpPart
from metering.true_ups.selectors import find_invoices
from metering.true_ups.states import TrueUpState

PARTS_SHOWN = 20
TONES = {
    TrueUpState.PROPOSED: "is-warning",
    TrueUpState.SETTLED: "is-ok",
    TrueUpState.REFUSED: "is-drift",
}


@dataclass(frozen=True, slots=True)
class StepRow:
    """One tier before and after."""

    step: TierStep
    rate: str
    before: str
    after: str
    difference: str


@dataclass(frozen=True, slots=True)
class TrueUpPage:
    """Everything on the page."""

    true_up: TrueUp
    tone: str
    amount: str
    becomes: str
    stripe_object: str
    invoice: str
    invoice_note: str
    rows: tuple[StepRow, ...]
    units_after: int
    parts: tuple[TrueUpPart, ...]
    parts_left: int
    can_decide: bool


def build_page(true_up: TrueUp, *, can_decide: bool) -> TrueUpPage:
    """The page of one true-up. Reads only."""
    parts = true_up.parts.select_related("event").order_by("pk")
    count = parts.count()
    invoice = find_invoices([true_up]).get(true_up.pk)
    return TrueUpPage(
        true_up=true_up,
        tone=TONES.get(TrueUpState(true_up.state), ""),
        amount=format_minor(true_up.amount_minor, true_up.currency),
        becomes=describe_target(true_up),
        stripe_object=true_up.stripe_object_id or "",
        invoice=str(invoice or ""),
        invoice_note=_describe_invoice(true_up, invoice is not None),
        rows=tuple(_build_row(load_step(row), true_up.currency) for row in true_up.arithmetic),
        units_after=true_up.units_before + true_up.units,
        parts=tuple(parts[:PARTS_SHOWN]),
        parts_left=max(count - PARTS_SHOWN, 0),
        can_decide=can_decide,
    )


def describe_target(true_up: TrueUp) -> str:
    """What an approval makes of it at Stripe."""
    if not true_up.amount_minor:
        return "nothing"
    return "a credit note" if true_up.is_credit else "an invoice item"


def _describe_invoice(true_up: TrueUp, has_invoice: bool) -> str:
    if not true_up.amount_minor:
        return "these units cost nothing"
    if has_invoice:
        return "credited" if true_up.is_credit else "has the item"
    return "chosen when it is approved" if true_up.is_credit else "the customer's next one"


def _build_row(step: TierStep, currency: str) -> StepRow:
    return StepRow(
        step=step,
        rate=f"{step.unit_amount_decimal.normalize():f}",
        before=format_minor(step.before_minor, currency),
        after=format_minor(step.after_minor, currency),
        difference=format_minor(step.difference_minor, currency),
    )
