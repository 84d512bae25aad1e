"""Reads about meters, products and prices that exist at Stripe for us."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from decimal import Decimal

from billing_worker.catalog.keys import load_tiers, make_flat_key, make_sampled_key, make_tier_key
from billing_worker.catalog.models import CatalogMeter, CatalogPrice, CatalogProduct, SampledPrice
from billing_worker.catalog.states import SAMPLED, PriceKind
from billing_worker.core.errors import NotFound
from billing_worker.core.rating import Tier, UsageType


class NotInCatalog(NotFound):
    """The meter, product or price does not exist at Stripe yet. Run `catalog_apply`, which creates what plans need."""

    code = "not_in_catalog"


def get_meter(usage_type: UsageType) -> CatalogMeter:
    """The meter of a usage type.

    Raises:
        NotInCatalog: `catalog_apply` has not run.
    """
    meter = CatalogMeter.objects.filter(usage_type=usage_type).first()
    if meter is None:
        raise NotInCatalog(f"there is no meter for {usage_type}: run catalog_apply")
    return meter


def get_product(kind: str) -> CatalogProduct:
    """The product of a kind of line (`sub`, `ST`, `RM`, `CV`, `managed`).

    Raises:
        NotInCatalog: `catalog_apply` has not run.
    """
    product = CatalogProduct.objects.filter(kind=kind).first()
    if product is None:
        raise NotInCatalog(f"there is no product for {kind}: run catalog_apply")
    return product


def get_flat_price(currency: str, unit_amount_decimal: Decimal) -> CatalogPrice:
    """The licensed price of a monthly fee, in minor units of the currency.

    Raises:
        NotInCatalog: no price for this fee: it came with a later import.
    """
    return _get_price(make_flat_key(currency, unit_amount_decimal))


def get_tier_price(usage_type: UsageType, currency: str, tiers: Sequence[Tier]) -> CatalogPrice:
    """The graduated price of exactly this tier table.

    Raises:
        NotInCatalog: no price for this table: it came with a later import.
    """
    return _get_price(make_tier_key(usage_type, currency, tiers))


def get_sampled_price(event_name: str, currency: str) -> CatalogPrice | None:
    """The price of a sampled meter's tier in a currency; None where none is configured: its usage is counted only.

    Raises:
        NotInCatalog: one is configured, and `catalog_apply` has not run since.
    """
    price = SampledPrice.objects.filter(tier__event_name=event_name, currency=currency).first()
    if price is None:
        return None
    return _get_price(make_sampled_key(event_name, currency, load_tiers(price.tiers)))


def get_kind_for_product(stripe_product_id: str) -> str | None:
    """Which kind of line a Stripe product stands for; `sampled` for any sampled meter's; None: it is not ours."""
    return get_kinds_for_products([stripe_product_id]).get(stripe_product_id)


def get_kinds_for_products(stripe_product_ids: Collection[str]) -> dict[str, str]:
    """`get_kind_for_product` for many in one query; those that are not ours are left out."""
    products = CatalogProduct.objects.filter(stripe_product_id__in=stripe_product_ids)
    rows = products.values_list("stripe_product_id", "kind")
    return {product: kind if kind in PriceKind.values else SAMPLED for product, kind in rows}


def get_sampled_products() -> dict[str, str]:
    """The event names of sampled meters' tiers, by their Stripe product."""
    rows = CatalogProduct.objects.exclude(kind__in=PriceKind.values)
    return dict(rows.values_list("stripe_product_id", "kind"))


def get_kind_for_price(stripe_price_id: str) -> str | None:
    """Which kind of line a Stripe price stands for; None for a price that is not ours."""
    return CatalogPrice.objects.filter(stripe_price_id=stripe_price_id).values_list("kind", flat=True).first()


def _get_price(lookup_key: str) -> CatalogPrice:
    price = CatalogPrice.objects.filter(lookup_key=lookup_key).first()
    if price is None:
        raise NotInCatalog(f"there is no price {lookup_key}: run catalog_apply")
    return price
