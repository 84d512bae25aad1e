"""What each payer's subscription should be at a moment, against what it is. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from billing_worker import gateway
from billing_worker.accounts.models import Account
from billing_worker.accounts.selectors import get_billers, get_families, get_now_for, get_terms_for
from billing_worker.accounts.states import Biller
from billing_worker.accounts.terms import AccountTerms
from billing_worker.catalog.models import CatalogPrice
from billing_worker.catalog.sampled.selectors import get_sampled_tiers
from billing_worker.catalog.selectors import get_flat_price, get_product, get_sampled_price, get_tier_price
from billing_worker.core.money import format_minor
from billing_worker.core.periods import Period
from billing_worker.mirror.models import StripeSubscription
from cohorts.changes import (
    HeldItem,
    ItemChange,
    WantedItem,
    compute_early_additions,
    compute_licensed_changes,
    compute_metered_changes,
    leaves_nothing,
)
from cohorts.models import CohortMember
from cohorts.provisioning import SubscriptionPlan, compute_subscription_plan
from cohorts.selectors import bills_through_parent
from cohorts.states import PROVISIONED_STATES
from metering.selectors import get_period_totals

#: Before the turn of a month, the time in which the subscription is prepared for it: as late as three daily runs allow.
LEAD: Final = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A subscription as Stripe has it, or had it when the mirror last heard."""

    id: str
    items: tuple[HeldItem, ...]
    period_start: datetime | None
    period_end: datetime | None
    latest_invoice: str | None
    ends_with_period: bool
    has_ended: bool

    @classmethod
    def of(cls, subscription: gateway.Subscription) -> Snapshot:
        starts = [item.period_start for item in subscription.items if item.period_start]
        ends = [item.period_end for item in subscription.items if item.period_end]
        return cls(
            id=subscription.id,
            items=tuple(
                HeldItem(item.id, item.price, item.product, item.quantity, item.metadata)
                for item in subscription.items
            ),
            period_start=min(starts, default=None),
            period_end=max(ends, default=None),
            latest_invoice=subscription.latest_invoice,
            ends_with_period=subscription.cancel_at_period_end,
            has_ended=subscription.ended_at is not None,
        )

    @classmethod
    def of_mirror(cls, row: StripeSubscription) -> Snapshot:
        return cls(
            id=row.stripe_subscription_id,
            items=tuple(
                HeldItem(item["id"], item["price"], item["product"], item["quantity"], item["metadata"] or {})
                for item in row.items
            ),
            period_start=row.current_period_start,
            period_end=row.current_period_end,
            latest_invoice=None,
            ends_with_period=row.cancel_at_period_end,
            has_ended=row.ended_at is not None,
        )


@dataclass(frozen=True, slots=True)
class Order:
    """The changes that are due now. `metered` ones wait until the draft of the month before is closed."""

    account_id: int
    subscription_id: str
    period: Period
    licensed: tuple[ItemChange, ...] = ()
    metered: tuple[ItemChange, ...] = ()
    cancel_at_period_end: bool | None = None
    names: Mapping[str, str] | None = None
    waits_for: str = ""

    @property
    def is_empty(self) -> bool:
        """Nothing can be done now."""
        return not (self.licensed or self.metered) and self.cancel_at_period_end is None

    @property
    def is_settled(self) -> bool:
        """Nothing is to be done, now or when something that it waits for has come."""
        return self.is_empty and not self.waits_for

    @property
    def needs_closed_draft(self) -> bool:
        return bool(self.metered)

    def without_metered(self) -> Order:
        """What can be done while last month's draft is open."""
        return replace(self, metered=(), waits_for="last month's invoice is still a draft")

    def build_request(self) -> dict[str, Any]:
        """What Stripe is asked for, to be stored and compared."""
        return {
            "items": [asdict(change) for change in (*self.licensed, *self.metered)],
            "cancel_at_period_end": self.cancel_at_period_end,
        }

    def describe(self) -> str:
        """For people: `fee to 599.00 USD for 1004; ST tiers`."""
        names = self.names or {}
        said = []
        if self.cancel_at_period_end is not None:
            said.append("ends with its month" if self.cancel_at_period_end else "goes on")
        for change in (*self.licensed, *self.metered):
            what = names.get(change.price or change.id, change.price or change.id)
            if change.is_removal:
                said.append(f"without {what}")
            elif change.quantity is not None:
                said.append(f"{change.quantity} × {what}")
            else:
                said.append(f"{'to' if change.id else 'with'} {what}")
        return "; ".join(said)


class OrderBook:
    """The payers of provisioned cohorts with what their plans want; terms are read once for each month."""

    def __init__(self, *, cohort_id: int | None, account_ids: Collection[int] | None) -> None:
        members = CohortMember.objects.filter(cohort__state__in=PROVISIONED_STATES).exclude(
            stripe_subscription_id=""
        )
        if cohort_id is not None:
            members = members.filter(cohort_id=cohort_id)
        if account_ids is not None:
            members = members.filter(account_id__in=account_ids)
        # An account that was rolled back and moves again has two places: the later one's subscription counts.
        places = {
            row.account_id: row
            for row in members.select_related("account__test_clock", "account__parent").order_by("pk")
        }
        rows = [places[account_id] for account_id in sorted(places)]
        self.payers = [row.account for row in rows if not bills_through_parent(row.account)]
        self._subscriptions = {row.account_id: row.stripe_subscription_id for row in rows}
        self._families = get_families([payer.pk for payer in self.payers])
        self._mirrored = {
            row.stripe_subscription_id: Snapshot.of_mirror(row)
            for row in StripeSubscription.objects.filter(
                stripe_subscription_id__in=self._subscriptions.values()
            )
        }
        self._terms: dict[Period, dict[int, AccountTerms]] = {}
        self._billers: dict[Period, dict[int, Biller]] = {}

    def get_subscription_id(self, payer: Account) -> str:
        return self._subscriptions[payer.pk]

    def get_mirrored(self, payer: Account) -> Snapshot | None:
        return self._mirrored.get(self._subscriptions[payer.pk])

    def compute(self, payer: Account, held: Snapshot, *, now: datetime) -> Order:
        """What is due for the payer's subscription at `now` (in the customer's own time if on a test clock).

        Raises:
            CannotProvision: the terms can't be put into one subscription.
            NotInCatalog: a price does not exist at Stripe yet: `catalog_apply` makes it.
        """
        there = get_now_for(payer, now)
        order = Order(payer.pk, held.id, Period.of(there), names={})
        if held.has_ended or held.period_start is None or held.period_end is None:
            return order
        if there >= held.period_end:
            return replace(order, waits_for="Stripe has not turned the month yet")
        current, following = Period.of(held.period_start), Period.of(held.period_end)
        if there >= held.period_end - LEAD and self._is_ours(payer, following):
            return self._prepare(order, payer, held, current, following)
        # A subscription that a rollback ends at the turn bills its last month as any other.
        return self._adjust(order, payer, held, current) if self._is_ours(payer, current) else order

    def _prepare(
        self, order: Order, payer: Account, held: Snapshot, current: Period, following: Period
    ) -> Order:
        """The last days of a month: fees and new meters for the next one, and this month's tiers if still missing."""
        order = replace(order, period=following)
        licensed, metered = self._build_wanted(payer, following)
        if not licensed and not metered:
            # Nothing recurs any more. The last invoice still bills the month's usage.
            return replace(order, cancel_at_period_end=None if held.ends_with_period else True)
        goes_on = False if held.ends_with_period else None
        _, metered_now = self._build_wanted(payer, current)
        changes = compute_licensed_changes(held.items, licensed)
        early = compute_early_additions(held.items, metered, used_products=self._find_used(payer, current))
        overdue = compute_metered_changes(_leave_out_new(held, metered, metered_now), metered_now)
        names = self._name(held, (*licensed, *metered, *metered_now))
        return replace(
            order, licensed=(*changes, *early), metered=overdue, cancel_at_period_end=goes_on, names=names
        )

    def _adjust(self, order: Order, payer: Account, held: Snapshot, current: Period) -> Order:
        """The month itself: its tier tables. Its fees are invoiced already."""
        _, metered = self._build_wanted(payer, current)
        if held.ends_with_period and not metered:
            return order
        changes = compute_metered_changes(held.items, metered)
        if leaves_nothing(held.items, changes):
            return order
        return replace(order, period=current, metered=changes, names=self._name(held, metered))

    def _build_wanted(
        self, payer: Account, period: Period
    ) -> tuple[tuple[WantedItem, ...], tuple[WantedItem, ...]]:
        terms, family = self._get_terms(period), self._families[payer.pk]
        if not any(terms[pk].is_billable for pk in family):
            return (), ()
        plan = compute_subscription_plan(
            payer=terms[payer.pk], members={pk: terms[pk] for pk in family}, period=period
        )
        return _want_licensed(plan), (*_want_tiers(plan), *_want_sampled(plan, family))

    def _get_terms(self, period: Period) -> dict[int, AccountTerms]:
        if period not in self._terms:
            ids = [pk for family in self._families.values() for pk in family]
            self._terms[period] = get_terms_for(period, account_ids=ids)
        return self._terms[period]

    def _is_ours(self, payer: Account, period: Period) -> bool:
        """Only months that Stripe bills are prepared; `extend_leases` writes the next month's lease in time."""
        if period not in self._billers:
            self._billers[period] = get_billers(period, account_ids=[payer.pk for payer in self.payers])
        return self._billers[period][payer.pk] == Biller.STRIPE

    def _find_used(self, payer: Account, period: Period) -> frozenset[str]:
        """The products whose meters hold usage of the family this month."""
        totals = get_period_totals(period, account_ids=self._families[payer.pk])
        kinds = {kind for total in totals.values() for kind, quantity in total.items() if quantity}
        return frozenset(get_product(kind).stripe_product_id for kind in kinds)

    def _name(self, held: Snapshot, wanted: Sequence[WantedItem]) -> dict[str, str]:
        ids = {item.price for item in held.items} | {item.price for item in wanted}
        prices = CatalogPrice.objects.filter(stripe_price_id__in=ids)
        names = {price.stripe_price_id: _name_price(price) for price in prices}
        return names | {item.id: names.get(item.price, item.price) for item in held.items}


def _name_price(price: CatalogPrice) -> str:
    """`fee of 499.00 USD`, `ST tiers 1a2b3c4d5e6f`: the table's own mark, as on its price at Stripe."""
    amount = price.unit_amount_decimal
    if amount is None:
        return f"{price.kind} tiers {price.lookup_key.rpartition('_')[2]}"
    if amount != int(amount):
        return f"fee {price.lookup_key}"
    return f"fee of {format_minor(int(amount), price.currency)}"


def _leave_out_new(
    held: Snapshot, following: Sequence[WantedItem], current: Sequence[WantedItem]
) -> list[HeldItem]:
    """The items but for those that an earlier run added for the next month: they are not this month's to remove."""
    new = {item.product for item in following} - {item.product for item in current}
    return [item for item in held.items if item.quantity is not None or item.product not in new]


def _want_licensed(plan: SubscriptionPlan) -> tuple[WantedItem, ...]:
    product = get_product("sub").stripe_product_id if plan.flat_items else ""
    return tuple(
        WantedItem(
            get_flat_price(plan.currency, item.unit_amount_decimal).stripe_price_id,
            product,
            item.quantity,
            ",".join(str(pk) for pk in item.account_ids)[:500],
        )
        for item in plan.flat_items
    )


def _want_tiers(plan: SubscriptionPlan) -> tuple[WantedItem, ...]:
    return tuple(
        WantedItem(
            get_tier_price(usage_type, plan.currency, tiers).stripe_price_id,
            get_product(usage_type).stripe_product_id,
        )
        for usage_type, tiers in plan.tiers.items()
    )


def _want_sampled(plan: SubscriptionPlan, family: Sequence[int]) -> tuple[WantedItem, ...]:
    wanted = []
    for tier in get_sampled_tiers(family, plan.period):
        price = get_sampled_price(tier.event_name, plan.currency)
        if price is not None:
            wanted.append(WantedItem(price.stripe_price_id, get_product(tier.event_name).stripe_product_id))
    return tuple(wanted)
