"""What the units of sampled meters cost: the lines that Stripe should bill for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from billing_worker.catalog.keys import load_tiers
from billing_worker.catalog.sampled.models import SampledPrice, SampledTier
from billing_worker.core.periods import Period
from billing_worker.core.rating import Tier, TierCharge, rate_graduated

#: Whole units by account and event name.
Quantities = Mapping[tuple[int, str], int]
#: Given a month and accounts: what they used, whether it is billed or not.
Reader = Callable[[Period, Collection[int]], Quantities]
_readers: list[Reader] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledCharges:
    """A tier's units of a month with what they cost, a charge for each step of the price that is used.

    `tiers` and `charges` are empty where no price is configured for the currency: the units are counted only.
    """

    event_name: str
    title: str
    units: int
    tiers: tuple[Tier, ...]
    charges: tuple[TierCharge, ...]

    @property
    def amount_minor(self) -> int:
        return sum(charge.amount_minor for charge in self.charges)


def provides_sampled_units(reader: Reader) -> Reader:
    """Register who holds samples, for those who may not import it. It reads; it never calls the network."""
    if reader not in _readers:
        _readers.append(reader)
    return reader


def read_sampled_units(period: Period, *, account_ids: Collection[int]) -> dict[tuple[int, str], int]:
    """The whole units that accounts used of each tier in the month, by account and event name."""
    return {key: units for reader in _readers for key, units in reader(period, account_ids).items()}


def charge_sampled_units(
    units: Mapping[str, int], *, currencies: Collection[str]
) -> dict[str, list[SampledCharges]]:
    """What these units by event name cost in each of the currencies (lower case), minor units, before tax.

    Events are whole units for each account, and Stripe adds a family's up before its price: so does the caller.
    """
    used = [name for name, count in units.items() if count]
    rows = SampledTier.objects.filter(event_name__in=used).select_related("meter").order_by("event_name")
    prices = {
        (price.tier_id, price.currency): load_tiers(price.tiers)
        for price in SampledPrice.objects.filter(tier__event_name__in=used, currency__in=currencies)
    }
    return {
        currency: [
            _charge(tier, units[tier.event_name], prices.get((tier.pk, currency), ())) for tier in rows
        ]
        for currency in currencies
    }


def _charge(tier: SampledTier, units: int, table: tuple[Tier, ...]) -> SampledCharges:
    return SampledCharges(
        event_name=tier.event_name,
        title=tier.title,
        units=units,
        tiers=table,
        charges=tuple(rate_graduated(units, table)) if table else (),
    )
