"""Plan and apply the catalog: read Stripe, diff, and do the steps one by one, each written down as it is done.

Applying may be killed anywhere: whatever Stripe already has is adopted by the next run. Calls are made outside
transactions, and repeating one is safe because Stripe refuses a second meter, product or price of the same name.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import date

import structlog

from billing_worker import gateway
from billing_worker.accounts.models import Account
from billing_worker.accounts.selectors import get_billing_account, get_terms_for
from billing_worker.catalog.keys import EVENT_NAMES, dump_tiers
from billing_worker.catalog.models import CatalogMeter, CatalogPrice, CatalogProduct
from billing_worker.catalog.plan import (
    PRODUCT_NAMES,
    CatalogPlan,
    Change,
    Known,
    Remote,
    WantedMeter,
    WantedPrice,
    compare_catalog,
    make_flat_price,
    make_graduated_price,
    make_product_id,
    make_sampled_price,
    make_sampled_product_id,
)
from billing_worker.catalog.sampled.selectors import list_price_tables, list_tiers
from billing_worker.catalog.selectors import get_meter
from billing_worker.catalog.states import SAMPLED, PriceKind
from billing_worker.core.errors import Conflict
from billing_worker.core.periods import Period

log = structlog.get_logger(__name__)

Progress = Callable[[Sequence[Change]], Iterable[Change]]


class CatalogConflict(Conflict):
    """Stripe holds something under our names that is not what we need. Nothing was changed; see each line."""

    code = "catalog_conflict"


def get_wanted_prices(*, at: date) -> list[WantedPrice]:
    """The prices that terms need in the period of `at` and the next one, each once.

    An account that bills through its parent needs no tiers: its usage goes through the payer's.
    """
    period = Period.of(at)
    parents = {account.pk: account for account in Account.objects.select_related("parent")}
    wanted: dict[str, WantedPrice] = {}
    for terms in (*get_terms_for(period).values(), *get_terms_for(period.next()).values()):
        prices = []
        if terms.flat_unit_amount_decimal is not None:
            prices.append(make_flat_price(terms.currency, terms.flat_unit_amount_decimal))
        account = parents[terms.account_id]
        if get_billing_account(account) == account:
            prices += [
                make_graduated_price(kind, terms.currency, table) for kind, table in terms.tiers.items()
            ]
        wanted |= {price.lookup_key: price for price in prices}
    return list(wanted.values())


def get_sampled_prices() -> list[WantedPrice]:
    """The prices configured for sampled meters."""
    return [
        make_sampled_price(WantedMeter(event_name=tier.event_name, title=tier.title), currency, table)
        for tier, currency, table in list_price_tables()
    ]


def plan_catalog(*, at: date) -> CatalogPlan:
    """What `apply_catalog` would do now. Reads Stripe, changes nothing.

    Raises:
        GatewayError: Stripe could not be read.
    """
    sampled = [WantedMeter(event_name=tier.event_name, title=tier.title) for tier in list_tiers()]
    wanted = get_wanted_prices(at=at) + get_sampled_prices()
    remote = Remote(
        meters=gateway.list_meters(),
        products=gateway.list_products(),
        prices=gateway.list_prices(lookup_keys=[price.lookup_key for price in wanted]),
    )
    known = Known(
        meters=dict(CatalogMeter.objects.values_list("usage_type", "stripe_meter_id")),
        products=dict(CatalogProduct.objects.values_list("kind", "stripe_product_id")),
        prices=dict(CatalogPrice.objects.values_list("lookup_key", "stripe_price_id")),
    )
    return compare_catalog(wanted, remote, known, sampled=sampled)


def apply_catalog(*, at: date, progress: Progress = iter) -> CatalogPlan:
    """Bring Stripe and our notes to what the terms need; answers the plan that was carried out.

    Raises:
        CatalogConflict: something at Stripe stands in the way; nothing was changed.
        GatewayError: a call failed; the steps before it are done and written down, run it again.
    """
    plan = plan_catalog(at=at)
    if plan.conflicts:
        raise CatalogConflict("; ".join(plan.conflicts))
    run = uuid.uuid4().hex
    for change in progress(plan.changes):
        stripe_id = _APPLY[change.noun](change, f"catalog-{run}-{change.noun}-{change.key}")
        log.info(
            "catalog_changed", action=change.action, noun=change.noun, key=change.key, stripe_id=stripe_id
        )
    return plan


def _apply_meter(change: Change, idempotency_key: str) -> str:
    if change.meter:
        event_name, title = change.meter.event_name, change.meter.title
    else:
        event_name = EVENT_NAMES[change.key]  # type: ignore[index]
        title = PRODUCT_NAMES[PriceKind(change.key)]
    stripe_id = change.stripe_id or gateway.create_meter(
        event_name=event_name, display_name=title, idempotency_key=idempotency_key
    ).id  # fmt: skip
    CatalogMeter.objects.update_or_create(
        usage_type=change.key, defaults={"event_name": event_name, "stripe_meter_id": stripe_id}
    )
    return stripe_id


def _apply_product(change: Change, idempotency_key: str) -> str:
    if change.meter:
        product_id, name = make_sampled_product_id(change.meter.event_name), change.meter.title
        metadata = {"kind": SAMPLED}
    else:
        kind = PriceKind(change.key)
        product_id, name, metadata = make_product_id(kind), PRODUCT_NAMES[kind], {"kind": kind.value}
    if change.action == "create":
        gateway.create_product(id=product_id, name=name, metadata=metadata, idempotency_key=idempotency_key)
    elif change.action == "rename":
        gateway.update_product(product_id, name=name, metadata=metadata)
    CatalogProduct.objects.update_or_create(
        kind=change.key, defaults={"name": name, "stripe_product_id": product_id}
    )
    return product_id


def _apply_price(change: Change, idempotency_key: str) -> str:
    price = change.price
    assert price is not None
    stripe_id = change.stripe_id or _create_price(price, idempotency_key)
    CatalogPrice.objects.update_or_create(
        lookup_key=price.lookup_key,
        defaults={
            "kind": price.metadata["kind"],
            "currency": price.currency,
            "unit_amount_decimal": price.unit_amount_decimal,
            "tiers": dump_tiers(price.tiers),
            "stripe_price_id": stripe_id,
        },
    )
    return stripe_id


def _create_price(price: WantedPrice, idempotency_key: str) -> str:
    if price.unit_amount_decimal is not None:
        return gateway.create_flat_price(
            product=price.product,
            currency=price.currency,
            unit_amount_decimal=price.unit_amount_decimal,
            lookup_key=price.lookup_key,
            nickname=price.nickname,
            metadata=price.metadata,
            idempotency_key=idempotency_key,
        ).id
    return gateway.create_graduated_price(
        product=price.product,
        currency=price.currency,
        meter=get_meter(price.kind.value if price.kind else price.event_name).stripe_meter_id,  # type: ignore[arg-type]
        tiers=[
            gateway.PriceTier(up_to=tier.up_to, unit_amount_decimal=tier.unit_amount_decimal)
            for tier in price.tiers
        ],
        lookup_key=price.lookup_key,
        nickname=price.nickname,
        metadata=price.metadata,
        idempotency_key=idempotency_key,
    ).id


_APPLY: dict[str, Callable[[Change, str], str]] = {
    "meter": _apply_meter,
    "product": _apply_product,
    "price": _apply_price,
}
