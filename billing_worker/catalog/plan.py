"""What Stripe should hold for the terms in force, and how that differs from what it holds. Pure: no database, no calls.

Meters and products are fixed; prices follow from the terms: one licensed price for each distinct fee and currency, one
graduated price for each distinct tier table per usage type and currency, found again by lookup key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from billing_worker.catalog.keys import (
    EVENT_NAMES,
    format_amount,
    make_flat_key,
    make_sampled_key,
    make_tier_key,
)
from billing_worker.catalog.states import SAMPLED, PriceKind
from billing_worker.core.rating import USAGE_TYPES, Tier, UsageType
from billing_worker.gateway import Meter, Price, Product

PRODUCT_NAMES: dict[PriceKind, str] = {
    PriceKind.SUB: "Monthly plan",
    PriceKind.ST: "ST impressions",
    PriceKind.RM: "RM impressions",
    PriceKind.CV: "CV impressions",
    PriceKind.MANAGED: "Managed service",
}

Noun = Literal["meter", "product", "price"]
Action = Literal["create", "adopt", "rename"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedMeter:
    """A sampled meter's tier: a Stripe meter and product under its event name, shown as `title`."""

    event_name: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPrice:
    """A price that some account's terms need: flat (`unit_amount_decimal`) or graduated (`tiers`), in minor units.

    A sampled meter's price has its `meter` and no `kind`.
    """

    lookup_key: str
    kind: PriceKind | None
    currency: str
    unit_amount_decimal: Decimal | None = None
    tiers: tuple[Tier, ...] = ()
    meter: WantedMeter | None = None

    @property
    def nickname(self) -> str:
        """How people see it in Stripe's dashboard."""
        if self.unit_amount_decimal is not None:
            return f"{self._title} {format_amount(self.unit_amount_decimal)} {self.currency} minor units"
        return f"{self._title}, {len(self.tiers)} tier(s), {self.currency}"

    @property
    def product(self) -> str:
        """The product that it prices."""
        if self.kind is not None:
            return make_product_id(self.kind)
        assert self.meter is not None
        return make_sampled_product_id(self.meter.event_name)

    @property
    def event_name(self) -> str | None:
        """The meter's, None for a flat price."""
        if self.kind is not None:
            return EVENT_NAMES.get(self.kind.value)  # type: ignore[call-overload, no-any-return]
        return self.meter.event_name if self.meter else None

    @property
    def metadata(self) -> dict[str, str]:
        return {"kind": self.kind.value if self.kind is not None else SAMPLED}

    @property
    def _title(self) -> str:
        if self.kind is not None:
            return PRODUCT_NAMES[self.kind]
        return self.meter.title if self.meter else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """What Stripe holds; `prices` are those under wanted lookup keys, with tiers."""

    meters: Sequence[Meter]
    products: Sequence[Product]
    prices: Sequence[Price]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What we have written down: Stripe ids by usage type, kind and lookup key; a sampled meter's by event name."""

    meters: Mapping[str, str]
    products: Mapping[str, str]
    prices: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One step: make it at Stripe (`create`, `rename`), or write down what is there already (`adopt`).

    `key` is the usage type of a meter, the kind of a product, the lookup key of a price; the event name of what belongs
    to a sampled meter, which then is in `meter`.
    """

    action: Action
    noun: Noun
    key: str
    stripe_id: str | None = None
    price: WantedPrice | None = None
    meter: WantedMeter | None = None

    def __str__(self) -> str:
        text = f"{self.action} {self.noun} {self.key}"
        return f"{text} ({self.stripe_id})" if self.stripe_id else text


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogPlan:
    """The steps in the order in which they can be done. Nothing may be done while there are `conflicts`.

    `unused` are lookup keys that we know and that no account's terms need any more: reported, never archived.
    """

    changes: tuple[Change, ...]
    conflicts: tuple[str, ...]
    unchanged: int
    unused: tuple[str, ...]


def make_product_id(kind: PriceKind) -> str:
    """Products have ids of our choice, so that Stripe itself refuses a second one."""
    return f"billing_{kind.value.lower()}"


def make_sampled_product_id(event_name: str) -> str:
    """A product of its own for each tier of a sampled meter: lines are told apart by it."""
    return f"billing_sampled_{event_name}"


def make_flat_price(currency: str, unit_amount_decimal: Decimal) -> WantedPrice:
    return WantedPrice(
        lookup_key=make_flat_key(currency, unit_amount_decimal),
        kind=PriceKind.SUB,
        currency=currency,
        unit_amount_decimal=unit_amount_decimal,
    )


def make_graduated_price(usage_type: UsageType, currency: str, tiers: tuple[Tier, ...]) -> WantedPrice:
    return WantedPrice(
        lookup_key=make_tier_key(usage_type, currency, tiers),
        kind=PriceKind(usage_type),
        currency=currency,
        tiers=tiers,
    )


def make_sampled_price(meter: WantedMeter, currency: str, tiers: tuple[Tier, ...]) -> WantedPrice:
    return WantedPrice(
        lookup_key=make_sampled_key(meter.event_name, currency, tiers),
        kind=None,
        currency=currency,
        tiers=tiers,
        meter=meter,
    )


def compare_catalog(
    wanted: Iterable[WantedPrice], remote: Remote, known: Known, *, sampled: Iterable[WantedMeter] = ()
) -> CatalogPlan:
    """Diff the wanted catalog against Stripe and against what we have written down.

    `sampled` are the tiers of sampled meters, each a meter and a product.
    """
    sampled = list(sampled)
    conflicts: list[str] = []
    wanted = sorted(
        {price.lookup_key: price for price in wanted}.values(), key=lambda price: price.lookup_key
    )
    steps = [
        *(_compare_meter(kind, EVENT_NAMES[kind], remote, known, conflicts) for kind in USAGE_TYPES),
        *(_compare_sampled_meter(meter, remote, known, conflicts) for meter in sampled),
        *(
            _compare_product(
                kind.value, make_product_id(kind), PRODUCT_NAMES[kind], kind.value, remote, known, conflicts
            )
            for kind in PriceKind
        ),
        *(_compare_sampled_product(meter, remote, known, conflicts) for meter in sampled),
        *(_compare_price(price, remote, known, conflicts) for price in wanted),
    ]
    changes = tuple(step for step in steps if step is not None)
    return CatalogPlan(
        changes=changes,
        conflicts=tuple(conflicts),
        unchanged=len(steps) - len(changes) - len(conflicts),
        unused=tuple(sorted(set(known.prices) - {price.lookup_key for price in wanted})),
    )


def _compare_meter(
    key: str, event_name: str, remote: Remote, known: Known, conflicts: list[str]
) -> Change | None:
    found = [meter for meter in remote.meters if meter.event_name == event_name]
    active = [meter for meter in found if meter.status == "active"]
    if not active and found:
        conflicts.append(f"meter {event_name} ({found[0].id}) is inactive at Stripe: reactivate it there")
        return None
    if not active:
        return Change(action="create", noun="meter", key=key)
    return _adopt_unless_known("meter", key, active[0].id, known.meters)


def _compare_sampled_meter(
    meter: WantedMeter, remote: Remote, known: Known, conflicts: list[str]
) -> Change | None:
    change = _compare_meter(meter.event_name, meter.event_name, remote, known, conflicts)
    return change and replace(change, meter=meter)


def _compare_product(
    key: str, product_id: str, name: str, kind: str, remote: Remote, known: Known, conflicts: list[str]
) -> Change | None:
    found = next((product for product in remote.products if product.id == product_id), None)
    if found is None:
        return Change(action="create", noun="product", key=key)
    if not found.is_active:
        conflicts.append(f"product {found.id} is archived at Stripe: unarchive it there")
        return None
    if found.name != name or found.metadata.get("kind") != kind:
        return Change(action="rename", noun="product", key=key, stripe_id=found.id)
    return _adopt_unless_known("product", key, found.id, known.products)


def _compare_sampled_product(
    meter: WantedMeter, remote: Remote, known: Known, conflicts: list[str]
) -> Change | None:
    product_id = make_sampled_product_id(meter.event_name)
    change = _compare_product(meter.event_name, product_id, meter.title, SAMPLED, remote, known, conflicts)
    return change and replace(change, meter=meter)


def _compare_price(wanted: WantedPrice, remote: Remote, known: Known, conflicts: list[str]) -> Change | None:
    found = next((price for price in remote.prices if price.lookup_key == wanted.lookup_key), None)
    if found is None:
        return Change(action="create", noun="price", key=wanted.lookup_key, price=wanted)
    differences = _find_differences(wanted, found, remote)
    if differences:
        conflicts.append(
            f"price {found.id} has the lookup key {wanted.lookup_key}, but {', '.join(differences)}: move the key away "
            "from it at Stripe; a price is never overwritten"
        )
        return None
    change = _adopt_unless_known("price", wanted.lookup_key, found.id, known.prices)
    return change and Change(action="adopt", noun="price", key=change.key, stripe_id=found.id, price=wanted)


def _find_differences(wanted: WantedPrice, found: Price, remote: Remote) -> list[str]:
    meter = next(
        (
            meter.id
            for meter in remote.meters
            if meter.status == "active" and meter.event_name == wanted.event_name
        ),
        None,
    )
    tiers = tuple(Tier(tier.up_to, tier.unit_amount_decimal) for tier in found.tiers)
    is_flat = wanted.unit_amount_decimal is not None
    checks = {
        "it is archived": not found.is_active,
        f"its currency is {found.currency}": found.currency != wanted.currency,
        f"its product is {found.product}": found.product != wanted.product,
        f"its amount is {found.unit_amount_decimal}": found.unit_amount_decimal != wanted.unit_amount_decimal,
        "its tiers differ": tiers != wanted.tiers or any(tier.flat_amount_decimal for tier in found.tiers),
        f"its usage is {found.usage_type}": found.usage_type != ("licensed" if is_flat else "metered"),
        f"its meter is {found.meter}": not is_flat and found.meter != meter,
        f"its tiers are {found.tiers_mode}": not is_flat and found.tiers_mode != "graduated",
    }
    return [text for text, differs in checks.items() if differs]


def _adopt_unless_known(noun: Noun, key: str, stripe_id: str, known: Mapping[str, str]) -> Change | None:
    if known.get(key) == stripe_id:
        return None
    return Change(action="adopt", noun=noun, key=key, stripe_id=stripe_id)
