"""Reads about sampled meters: which tier an account is on, and what it pays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from billing_worker.catalog.keys import load_tiers
from billing_worker.catalog.sampled.models import SampledMeter, SampledPlan, SampledPrice, SampledTier
from billing_worker.core.errors import NotFound
from billing_worker.core.periods import Period
from billing_worker.core.rating import Tier


class UnknownSampledMeter(NotFound):
    """No sampled meter has this name, or it has no such tier: define it first (`define_sampled_meter`)."""

    code = "unknown_sampled_meter"


class SampledPlans:
    """The tiers of some accounts over all months, read once."""

    def __init__(self, account_ids: Collection[int]) -> None:
        self._rows: defaultdict[tuple[int, int], list[tuple[str, int | None]]] = defaultdict(list)
        rows = SampledPlan.objects.filter(account__in=account_ids).order_by("from_period")
        for account_id, meter_id, from_period, tier_id in rows.values_list(
            "account_id", "meter_id", "from_period", "tier_id"
        ):
            self._rows[account_id, meter_id].append((from_period, tier_id))

    def find(self, account_id: int, meter_id: int, period: str) -> int | None:
        """The tier that the account is on in the month (`2026-10`), or None."""
        found = None
        for from_period, tier_id in self._rows.get((account_id, meter_id), ()):
            if from_period > period:
                break
            found = tier_id
        return found


def get_sampled_meter(name: str) -> SampledMeter:
    """Raises UnknownSampledMeter."""
    meter = SampledMeter.objects.filter(name=name).first()
    if meter is None:
        raise UnknownSampledMeter(f"there is no sampled meter {name!r}: define it with define_sampled_meter")
    return meter


def get_sampled_tiers(account_ids: Collection[int], period: Period) -> list[SampledTier]:
    """The tiers that any of these accounts is on in the month, by event name: what a subscription must have."""
    plans = SampledPlans(account_ids)
    meters = list(SampledMeter.objects.values_list("pk", flat=True))
    found = [plans.find(account_id, meter, str(period)) for account_id in account_ids for meter in meters]
    ids = {tier_id for tier_id in found if tier_id is not None}
    return list(SampledTier.objects.filter(pk__in=ids).select_related("meter"))


def list_tiers() -> list[SampledTier]:
    """Every tier of every sampled meter, by event name."""
    return list(SampledTier.objects.select_related("meter"))


def list_price_tables() -> list[tuple[SampledTier, str, tuple[Tier, ...]]]:
    """Every price there is: tier, currency and its table."""
    prices = SampledPrice.objects.select_related("tier__meter").order_by("tier__event_name", "currency")
    return [(price.tier, price.currency, load_tiers(price.tiers)) for price in prices]
