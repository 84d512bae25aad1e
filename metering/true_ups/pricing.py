"""The position of a true-up in its payer's tiers, and what it comes to there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Sum

from billing_worker.accounts.models import Account
from billing_worker.accounts.selectors import get_terms
from billing_worker.catalog.keys import load_tiers
from billing_worker.catalog.models import SampledPrice
from billing_worker.core.money import format_minor
from billing_worker.core.periods import Period
from billing_worker.core.rating import USAGE_TYPES, Tier, rate_graduated
from metering.models import MeterEvent
from metering.services.roll_up import find_skip_reason
from metering.states import EventState
from metering.true_ups.arithmetic import TierStep, compute_true_up
from metering.true_ups.models import BilledUsage, TrueUp
from metering.true_ups.states import TrueUpState


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where tiers are counted: a payer's meter from `start`. `invoice_id` billed it; empty if none did."""

    payer_id: int
    meter: str
    start: datetime
    end: datetime
    invoice_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a true-up comes to, with the arithmetic and what a person should know first."""

    units_before: int
    steps: tuple[TierStep, ...]
    notes: tuple[str, ...]

    @property
    def amount_minor(self) -> int:
        return sum(step.difference_minor for step in self.steps)


def find_position(event: MeterEvent) -> Position:
    """Where the event's units belong: the billed period that its timestamp lies in, else its month."""
    assert event.payer_id is not None, "only events with a payer are billed"
    billed = (
        BilledUsage.objects.filter(
            payer=event.payer_id, meter=event.meter, period_start__lte=event.at, period_end__gt=event.at
        )
        .order_by("-finalized_at", "-pk")
        .first()
    )
    if billed is None:
        period = Period.parse(event.period)
        return Position(payer_id=event.payer_id, meter=event.meter, start=period.start_at, end=period.end_at)
    return Position(
        payer_id=event.payer_id,
        meter=event.meter,
        start=billed.period_start,
        end=billed.period_end,
        invoice_id=billed.stripe_invoice_id,
    )


def price_units(*, position: Position, account: Account, units: int, before: int | None) -> Price:
    """What `units` come to behind everything counted so far. `before` is a true-up's key: only earlier ones count."""
    billed = list(_select_billed(position))
    tiers = get_tiers(position)
    earlier = (
        TrueUp.objects.filter(
            payer=position.payer_id, meter=position.meter, period_start=position.start
        ).exclude(state=TrueUpState.REJECTED)
    )  # fmt: skip
    if before is not None:
        earlier = earlier.filter(pk__lt=before)
    counted = _count_invoiced(position, billed) + (earlier.aggregate(sum=Sum("units"))["sum"] or 0)
    steps = compute_true_up(units_before=counted, units=units, tiers=tiers)
    return Price(
        units_before=counted,
        steps=tuple(steps),
        notes=tuple(_list_notes(position, account, billed, tiers, units)),
    )


def _select_billed(position: Position) -> list[BilledUsage]:
    return list(
        BilledUsage.objects.filter(payer=position.payer_id, meter=position.meter, period_start=position.start)
    )


def _count_invoiced(position: Position, billed: Sequence[BilledUsage]) -> int:
    """The units on the invoice; where there is none, those that Stripe has counted and will bill."""
    if billed:
        return sum(row.units for row in billed)
    sent = MeterEvent.objects.filter(
        payer=position.payer_id,
        meter=position.meter,
        at__gte=position.start,
        at__lt=position.end,
        state=EventState.SENT,
    )
    total: int | None = sent.aggregate(sum=Sum("value"))["sum"]
    return total or 0


def get_tiers(position: Position) -> Sequence[Tier]:
    """The payer's tiers for the month, or the sampled meter's price in its currency; empty where nothing is charged."""
    payer = Account.objects.get(pk=position.payer_id)
    if position.meter in USAGE_TYPES:
        terms = get_terms(payer.pk, Period.of(position.start))
        return terms.tiers.get(position.meter, ())
    price = SampledPrice.objects.filter(tier__event_name=position.meter, currency=payer.currency).first()
    return load_tiers(price.tiers) if price else ()


def _list_notes(
    position: Position, account: Account, billed: Sequence[BilledUsage], tiers: Sequence[Tier], units: int
) -> list[str]:
    notes = []
    if not tiers:
        notes.append(f"no price of the payer holds {position.meter}: nothing is charged")
    if not billed:
        notes.append(
            "no finalized invoice bills this meter for the month: counted after what Stripe was sent"
        )
    for row in billed:
        expected = sum(charge.amount_minor for charge in rate_graduated(row.units, tiers)) if tiers else 0
        if expected != row.amount_minor:
            notes.append(
                f"invoice {row.stripe_invoice_id} asks {format_minor(row.amount_minor, row.currency)} for"
                f" {row.units:,} units, the plan {format_minor(expected, row.currency)}: look at reconciliation first"
            )
    if reason := find_skip_reason(account, Period.of(position.start)):
        notes.append(f"by the account's terms now its usage is not billed: {reason}")
    return notes
