"""Prices: licensed and metered, per unit and tiered. Immutable but for their labels."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.expand import includable
from sandbox.engine.routing import on_load, operation
from sandbox.engine.shapes import list_page
from sandbox.engine.store import Store
from sandbox.resources.fields import changed, filter_created, filter_equal, merge_metadata, unset
from sandbox.resources.products import build_product

MAX_MONTHS = {"day": 3 * 365, "week": 156, "month": 36, "year": 3}


@on_load
def _declare(store: Store) -> None:
    store.index("price", "lookup_key")
    store.index("price", "recurring.meter")


@operation(
    "POST", "/v1/prices", params="PriceCreateParams", refuses=("currency_options", "custom_unit_amount")
)
def create_price(ctx: Context) -> JsonObject:
    """Create a price and, from ``product_data``, its product; emits ``price.created``."""
    params = ctx.params
    if ("product" in params) == ("product_data" in params):
        raise StripeError(
            400,
            "You must specify either `product` or `product_data` when creating a price.",
            code="parameter_missing" if "product" not in params else "parameters_exclusive",
            param="product",
        )
    return add_price(ctx, params)


def add_price(ctx: Context, params: JsonObject, prefix: str = "") -> JsonObject:
    """Check, store and announce a price; also for inline ``price_data``, whose parameters ``prefix`` names in errors.

    Raises:
        StripeError: an amount, tier or meter is missing, doubled or contradictory.
    """
    recurring = _recurring(ctx, params.get("recurring"), prefix)
    billing = _billing(params, prefix)
    lookup_key = params.get("lookup_key")
    if lookup_key:
        _claim_lookup_key(ctx, lookup_key, transfer=params.get("transfer_lookup_key", False))
    price: JsonObject = {
        "id": ctx.store.new_id("price"),
        "object": "price",
        "active": params.get("active", True),
        "billing_scheme": billing["billing_scheme"],
        "created": ctx.now(),
        "currency": _currency(params, prefix),
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": lookup_key,
        "metadata": merge_metadata({}, params.get("metadata", {})),
        "nickname": params.get("nickname"),
        "product": _product(ctx, params, prefix),
        "recurring": recurring,
        "tax_behavior": params.get("tax_behavior", "unspecified"),
        "tiers_mode": billing["tiers_mode"],
        "transform_quantity": params.get("transform_quantity"),
        "type": "recurring" if recurring else "one_time",
        "unit_amount": billing["unit_amount"],
        "unit_amount_decimal": billing["unit_amount_decimal"],
        "_tiers": billing["tiers"],
    }
    ctx.store.put("price", price)
    ctx.emit("price.created", price)
    return price


@operation("GET", "/v1/prices/{price}", params="PriceRetrieveParams")
def retrieve_price(ctx: Context) -> JsonObject:
    """Return a price."""
    return ctx.require("price", ctx.path["price"])


@operation("POST", "/v1/prices/{price}", params="PriceModifyParams", refuses=("currency_options",))
def update_price(ctx: Context) -> JsonObject:
    """Update what may change: ``active``, labels, ``lookup_key``; emits ``price.updated``."""
    price = ctx.require("price", ctx.path["price"])
    params = ctx.params
    after = dict(price)
    for name in ("active", "nickname", "tax_behavior"):
        if name in params:
            after[name] = unset(params[name])
    if "metadata" in params:
        after["metadata"] = merge_metadata(price["metadata"], params["metadata"])
    if params.get("active") is False:
        product = ctx.store.get("product", price["product"])
        if product and product["default_price"] == price["id"]:
            raise invalid(
                "active", "This price cannot be archived because it is the default price of its product."
            )
    if "lookup_key" in params:
        wanted = unset(params["lookup_key"])
        if wanted and wanted != price["lookup_key"]:
            _claim_lookup_key(ctx, wanted, transfer=params.get("transfer_lookup_key", False))
        after["lookup_key"] = wanted
    previous = changed(price, after)
    if previous:
        ctx.store.put("price", after)
        ctx.emit("price.updated", after, previous)
    return after


@operation("GET", "/v1/prices", params="PriceListParams")
def list_prices(ctx: Context) -> JsonObject:
    """List prices; each list parameter filters."""
    params = ctx.params
    if "lookup_keys" in params:
        if len(params["lookup_keys"]) > 10:
            raise invalid("lookup_keys", "You may only specify up to 10 lookup keys.")
        items = [
            price for key in params["lookup_keys"] for price in ctx.store.find("price", "lookup_key", key)
        ]
    elif "product" in params:
        items = ctx.store.find("price", "product", params["product"])
    else:
        items = ctx.store.all("price")
    items = filter_equal(items, params, "active", "currency", "product", "type")
    for name, value in params.get("recurring", {}).items():
        items = [item for item in items if (item["recurring"] or {}).get(name) == value]
    return list_page(ctx, filter_created(items, params.get("created")), "/v1/prices")


@includable("price", "tiers")
def price_tiers(ctx: Context, price: JsonObject) -> Any:
    """Return the tiers, which are only sent when asked for."""
    return price.get("_tiers")


def _named(prefix: str, name: str) -> str:
    return f"{prefix}[{name}]" if prefix else name


def _currency(params: JsonObject, prefix: str) -> str:
    currency: str = params["currency"].lower()
    if len(currency) != 3 or not currency.isalpha():
        raise invalid(_named(prefix, "currency"), f"Invalid currency: {params['currency']}.")
    return currency


def _product(ctx: Context, params: JsonObject, prefix: str) -> str:
    if "product" in params:
        product = ctx.require("product", params["product"], _named(prefix, "product"))
    else:
        data = params["product_data"]
        product = build_product(ctx, data.get("id") or ctx.store.new_id("prod"), data)
        ctx.store.put("product", product)
        ctx.emit("product.created", product)
    id: str = product["id"]
    return id


def _recurring(ctx: Context, given: JsonObject | None, prefix: str) -> JsonObject | None:
    if given is None:
        return None
    count = given.get("interval_count", 1)
    if not 1 <= count <= MAX_MONTHS[given["interval"]]:
        raise invalid(_named(prefix, "recurring[interval_count]"), "The interval may be at most three years.")
    usage_type = given.get("usage_type", "licensed")
    meter = given.get("meter")
    if usage_type == "metered":
        if not meter:
            raise invalid(
                _named(prefix, "recurring[meter]"),
                "Prices with `usage_type=metered` must be backed by a Meter: pass its ID as `recurring[meter]`.",
            )
        ctx.require("billing.meter", meter, _named(prefix, "recurring[meter]"))
    elif meter:
        raise invalid(_named(prefix, "recurring[meter]"), "`meter` requires `usage_type=metered`.")
    return {
        "interval": given["interval"],
        "interval_count": count,
        "meter": meter,
        "trial_period_days": given.get("trial_period_days"),
        "usage_type": usage_type,
    }


def _billing(params: JsonObject, prefix: str) -> JsonObject:
    scheme = params.get("billing_scheme", "per_unit")
    amount, decimal_amount = params.get("unit_amount"), params.get("unit_amount_decimal")
    if scheme == "tiered":
        if amount is not None or decimal_amount is not None:
            raise invalid(
                _named(prefix, "unit_amount"), "`unit_amount` cannot be set where `billing_scheme=tiered`."
            )
        if "tiers_mode" not in params:
            raise invalid(
                _named(prefix, "tiers_mode"), "Missing required param: tiers_mode.", "parameter_missing"
            )
        tiers = _tiers(params.get("tiers") or [], prefix)
        return {
            "billing_scheme": "tiered",
            "tiers_mode": params["tiers_mode"],
            "tiers": tiers,
            "unit_amount": None,
            "unit_amount_decimal": None,
        }
    if "tiers" in params or "tiers_mode" in params:
        raise invalid(_named(prefix, "tiers"), "`tiers` requires `billing_scheme=tiered`.")
    integer, text = _amounts(amount, decimal_amount, prefix, "unit_amount")
    return {
        "billing_scheme": "per_unit",
        "tiers_mode": None,
        "tiers": None,
        "unit_amount": integer,
        "unit_amount_decimal": text,
    }


def _amounts(
    amount: int | None, decimal_amount: str | None, prefix: str, name: str
) -> tuple[int | None, str]:
    """Return ``unit_amount`` (None unless whole) and ``unit_amount_decimal`` in its shortest form."""
    if (amount is None) == (decimal_amount is None):
        message = (
            f"You must pass either `{name}` or `{name}_decimal`."
            if amount is None
            else f"You may only specify one of these parameters: {name}, {name}_decimal."
        )
        raise invalid(_named(prefix, name), message, None if amount is None else "parameters_exclusive")
    value = Decimal(amount if amount is not None else str(decimal_amount))
    if value < 0:
        raise invalid(_named(prefix, name), "Invalid non-negative integer")
    whole = value == value.to_integral_value(ROUND_HALF_UP)
    return (int(value) if whole else None), plain_decimal(value)


def plain_decimal(value: Decimal) -> str:
    """Return a decimal without exponent or trailing zeros, as Stripe writes them (``"0.5"``, ``"2000"``)."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _tiers(given: list[JsonObject], prefix: str) -> list[JsonObject]:
    if not given:
        raise invalid(_named(prefix, "tiers"), "Missing required param: tiers.", "parameter_missing")
    tiers: list[JsonObject] = []
    bound = 0
    for position, tier in enumerate(given):
        is_last = position == len(given) - 1
        up_to = tier["up_to"]
        if (up_to == "inf") != is_last:
            raise invalid(
                _named(prefix, f"tiers[{position}][up_to]"),
                "The last tier must have `up_to=inf`, and only the last one.",
            )
        if up_to != "inf" and up_to <= bound:
            raise invalid(_named(prefix, f"tiers[{position}][up_to]"), "`up_to` must rise from tier to tier.")
        bound = bound if up_to == "inf" else up_to
        tiers.append(_tier(tier, None if up_to == "inf" else up_to, _named(prefix, f"tiers[{position}]")))
    return tiers


def _tier(tier: JsonObject, up_to: int | None, prefix: str) -> JsonObject:
    unit: tuple[int | None, str | None] = (None, None)
    flat: tuple[int | None, str | None] = (None, None)
    if "unit_amount" in tier or "unit_amount_decimal" in tier:
        unit = _amounts(tier.get("unit_amount"), tier.get("unit_amount_decimal"), prefix, "unit_amount")
    if "flat_amount" in tier or "flat_amount_decimal" in tier:
        flat = _amounts(tier.get("flat_amount"), tier.get("flat_amount_decimal"), prefix, "flat_amount")
    if unit[1] is None and flat[1] is None:
        raise invalid(prefix, "A tier needs a `unit_amount`, a `flat_amount` or both.")
    return {
        "flat_amount": flat[0],
        "flat_amount_decimal": flat[1],
        "unit_amount": unit[0],
        "unit_amount_decimal": unit[1],
        "up_to": up_to,
    }


def _claim_lookup_key(ctx: Context, key: str, *, transfer: bool) -> None:
    for holder in ctx.store.find("price", "lookup_key", key):
        if not transfer:
            raise StripeError(
                400,
                f"A price (`{holder['id']}`) already uses that lookup key.",
                param="lookup_key",
            )
        after = {**holder, "lookup_key": None}
        ctx.store.put("price", after)
        ctx.emit("price.updated", after, {"lookup_key": key})
