"""Meters, products and prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from billing_worker.gateway.parsing import parse_meter, parse_price, parse_product
from billing_worker.gateway.transport import call, iterate, make_path
from billing_worker.gateway.types import Meter, Price, PriceTier, Product

if TYPE_CHECKING:
    from stripe.params import (
        PriceCreateParams,
        PriceListParams,
        ProductCreateParams,
        ProductUpdateParams,
    )
    from stripe.params.billing import MeterCreateParams

_METERS = make_path("billing", "meters")
#: Stripe takes up to ten lookup keys in one list request. https://docs.stripe.com/api/prices/list
_LOOKUP_KEYS_PER_CALL = 10


def list_meters() -> list[Meter]:
    """Every meter, inactive ones included."""
    return [parse_meter(payload) for payload in iterate(_METERS)]


def create_meter(*, event_name: str, display_name: str, idempotency_key: str) -> Meter:
    """Create a meter that sums `value` per `stripe_customer_id`, which is what our meter events carry."""
    params: MeterCreateParams = {
        "event_name": event_name,
        "display_name": display_name,
        "default_aggregation": {"formula": "sum"},
        "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
        "value_settings": {"event_payload_key": "value"},
    }
    return parse_meter(call("post", _METERS, params, idempotency_key=idempotency_key))


def list_products() -> list[Product]:
    """Every product, archived ones included."""
    return [parse_product(payload) for payload in iterate(make_path("products"))]


def create_product(
    *, name: str, metadata: Mapping[str, str], idempotency_key: str, id: str | None = None
) -> Product:
    """Create a product, under an id of our own choice if one is given."""
    params: ProductCreateParams = {"name": name, "metadata": dict(metadata)}
    if id is not None:
        params["id"] = id
    return parse_product(call("post", make_path("products"), params, idempotency_key=idempotency_key))


def update_product(
    product: str, *, name: str | None = None, metadata: Mapping[str, str] | None = None
) -> Product:
    """Change what is given, leave the rest."""
    params: ProductUpdateParams = {}
    if name is not None:
        params["name"] = name
    if metadata is not None:
        params["metadata"] = dict(metadata)
    return parse_product(call("post", make_path("products", product), params))


def list_prices(*, lookup_keys: Sequence[str] | None = None, active: bool | None = None) -> list[Price]:
    """Prices with their tiers: all, or those under the given lookup keys (any number of them)."""
    params: PriceListParams = {"expand": ["data.tiers"]}
    if active is not None:
        params["active"] = active
    if lookup_keys is None:
        return [parse_price(payload) for payload in iterate(make_path("prices"), params)]
    found: list[Price] = []
    for start in range(0, len(lookup_keys), _LOOKUP_KEYS_PER_CALL):
        params["lookup_keys"] = list(lookup_keys[start : start + _LOOKUP_KEYS_PER_CALL])
        found.extend(parse_price(payload) for payload in iterate(make_path("prices"), params))
    return found


def create_flat_price(
    *,
    product: str,
    currency: str,
    unit_amount_decimal: Decimal,
    lookup_key: str,
    nickname: str,
    metadata: Mapping[str, str],
    idempotency_key: str,
) -> Price:
    """A licensed monthly price. `unit_amount_decimal` is in minor units, up to 12 decimals."""
    params = _describe_price(product, currency, lookup_key, nickname, metadata)
    params["recurring"] = {"interval": "month", "usage_type": "licensed"}
    params["unit_amount_decimal"] = unit_amount_decimal
    return _create_price(params, idempotency_key)


def create_graduated_price(
    *,
    product: str,
    currency: str,
    meter: str,
    tiers: Sequence[PriceTier],
    lookup_key: str,
    nickname: str,
    metadata: Mapping[str, str],
    idempotency_key: str,
) -> Price:
    """A metered monthly price with graduated tiers over a meter; the last tier's `up_to` must be None."""
    params = _describe_price(product, currency, lookup_key, nickname, metadata)
    params["recurring"] = {"interval": "month", "usage_type": "metered", "meter": meter}
    params["billing_scheme"] = "tiered"
    params["tiers_mode"] = "graduated"
    params["tiers"] = [_describe_tier(tier) for tier in tiers]
    return _create_price(params, idempotency_key)


def archive_price(price: str) -> Price:
    """Keep a price from new subscriptions; existing ones go on with it."""
    return parse_price(call("post", make_path("prices", price), {"active": False, "expand": ["tiers"]}))


def _describe_price(
    product: str, currency: str, lookup_key: str, nickname: str, metadata: Mapping[str, str]
) -> PriceCreateParams:
    return {
        "product": product,
        "currency": currency,
        "lookup_key": lookup_key,
        "nickname": nickname,
        "metadata": dict(metadata),
        "expand": ["tiers"],
    }


def _create_price(params: PriceCreateParams, idempotency_key: str) -> Price:
    return parse_price(
        call("post", make_path("prices"), write_decimals(params), idempotency_key=idempotency_key)
    )


def _describe_tier(tier: PriceTier) -> Any:
    described: dict[str, Any] = {
        "up_to": "inf" if tier.up_to is None else tier.up_to,
        "unit_amount_decimal": tier.unit_amount_decimal,
    }
    if tier.flat_amount_decimal is not None:
        described["flat_amount_decimal"] = tier.flat_amount_decimal
    return described


def write_decimals(value: Any) -> Any:
    """The same parameters with every `Decimal` as plain digits: Stripe does not read `1E+2`."""
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, Mapping):
        return {name: write_decimals(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [write_decimals(entry) for entry in value]
    return value
