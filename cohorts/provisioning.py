"""What a payer needs at Stripe: one customer and one subscription for it and all that bill through it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Literal

from billing_worker.accounts.terms import AccountTerms
from billing_worker.core.errors import Conflict
from billing_worker.core.periods import Period
from billing_worker.core.rating import USAGE_TYPES, Tier, UsageType, prorate_flat


class CannotProvision(Conflict):
    """The account's terms can't be put into one subscription. The message says why and what to do."""

    code = "cannot_provision"


@dataclass(frozen=True, slots=True)
class FlatItem:
    """A licensed item: the accounts of the family that pay the same monthly fee, one unit each."""

    unit_amount_decimal: Decimal
    account_ids: tuple[int, ...]

    @property
    def quantity(self) -> int:
        return len(self.account_ids)


@dataclass(frozen=True, slots=True)
class SubscriptionPlan:
    """One payer's subscription: bills from `start_at` on and renews on each first of a month in UTC."""

    payer_id: int
    currency: str
    period: Period
    start_at: datetime
    flat_items: tuple[FlatItem, ...]
    tiers: Mapping[UsageType, tuple[Tier, ...]]

    @property
    def is_empty(self) -> bool:
        """Nothing recurs: the payer is billed for single jobs only and needs no subscription."""
        return not self.flat_items and not self.tiers


@dataclass(frozen=True, slots=True)
class SubscriptionStart:
    """How to ask Stripe for a start: parameters of its call, None where its default is right."""

    billing_cycle_anchor: datetime | None = None
    backdate_start_at: datetime | None = None
    proration_behavior: Literal["none"] | None = None


def compute_subscription_plan(
    *, payer: AccountTerms, members: Mapping[int, AccountTerms], period: Period
) -> SubscriptionPlan:
    """The subscription for a payer and `members` (itself included), to bill from `period` on.

    Meters count usage per customer, so all of the family's usage meets one graduated item per usage type: the payer's
    tiers. Fees of the same amount share an item, because a subscription can hold a price only once.

    Raises:
        CannotProvision: the payer is not billable, a child starts within the period on another day than the payer, or
            equal fees would be rounded together to another amount than one by one.
    """
    if not payer.is_billable:
        raise CannotProvision(
            f"account {payer.account_id} owes nothing for {period}: take it out of the cohort"
        )
    start = payer.start_date or period.start_date
    owners: dict[Decimal, list[int]] = {}
    for terms in members.values():
        if not terms.is_billable or terms.flat_unit_amount_decimal is None:
            continue
        if (terms.start_date or period.start_date) != start:
            raise CannotProvision(
                f"account {terms.account_id} starts on {terms.start_date or period.start_date} but its payer "
                f"{payer.account_id} on {start}: their fees can't share a first invoice; move the family a month later"
            )
        owners.setdefault(terms.flat_unit_amount_decimal, []).append(terms.account_id)
    items = tuple(FlatItem(amount, tuple(sorted(ids))) for amount, ids in owners.items())
    for item in items:
        _check_rounding(item, payer_id=payer.account_id, period=period, start=start)
    return SubscriptionPlan(
        payer_id=payer.account_id,
        currency=payer.currency,
        period=period,
        start_at=datetime.combine(start, time(), tzinfo=UTC),
        flat_items=items,
        tiers={kind: payer.tiers[kind] for kind in USAGE_TYPES if kind in payer.tiers},
    )


def _check_rounding(item: FlatItem, *, payer_id: int, period: Period, start: date) -> None:
    """Stripe rounds an item's line once, legacy each account's fee."""
    each = prorate_flat(item.unit_amount_decimal, period=period, start_date=start)
    together = prorate_flat(item.unit_amount_decimal * item.quantity, period=period, start_date=start)
    if each * item.quantity != together:
        raise CannotProvision(
            f"{item.quantity} equal fees of the family of account {payer_id} come to {each * item.quantity} minor "
            f"units one by one and to {together} on one line: move the family a month later"
        )


def compute_start(plan: SubscriptionPlan, *, now: datetime) -> SubscriptionStart:
    """How to create the plan's subscription at `now`, in the customer's time.

    On the first of the month itself it simply starts. Later in the month it is backdated, earlier it waits without
    charge for its first; either way it renews on the first of a month.
    https://docs.stripe.com/billing/subscriptions/billing-cycle

    Raises:
        CannotProvision: the period is over, or the account starts within the period on a day still to come.
    """
    if now >= plan.period.end_at:
        raise CannotProvision(
            f"{plan.period} is over for account {plan.payer_id}: provision it from a later month on"
        )
    if now < plan.start_at:
        if plan.start_at != plan.period.start_at:
            raise CannotProvision(
                f"account {plan.payer_id} starts on {plan.start_at:%Y-%m-%d}: provision it on that day or after"
            )
        return SubscriptionStart(billing_cycle_anchor=plan.start_at, proration_behavior="none")
    if now == plan.start_at == plan.period.start_at:
        return SubscriptionStart()
    return SubscriptionStart(
        billing_cycle_anchor=plan.period.end_at,
        backdate_start_at=plan.start_at if plan.start_at < now else None,
    )
