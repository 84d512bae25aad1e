"""The diff, against every way in which Stripe can differ from what we need."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from billing_worker.catalog.plan import (
    PRODUCT_NAMES,
    Known,
    Remote,
    compare_catalog,
    make_flat_price,
    make_graduated_price,
    make_product_id,
)
from billing_worker.catalog.states import PriceKind
from billing_worker.core.rating import Tier
from billing_worker.gateway import Meter, Price, PriceTier, Product

FLAT = make_flat_price("usd", Decimal(49900))
TIERED = make_graduated_price("ST", "usd", (Tier(1000, Decimal(0)), Tier(None, Decimal("0.25"))))
NOTHING = Known(meters={}, products={}, prices={})
METERS = [
    Meter(id=f"mtr_{kind}", event_name=f"impressions_{kind}", display_name=kind, status="active")
    for kind in ("st", "rm", "cv")
]
PRODUCTS = [
    Product(id=make_product_id(kind), name=PRODUCT_NAMES[kind], is_active=True, metadata={"kind": kind.value})
    for kind in PriceKind
]
FLAT_PRICE = Price(
    id="price_flat", product="billing_sub", currency="usd", lookup_key="flat_usd_49900", nickname="", is_active=True,
    billing_scheme="per_unit", unit_amount_decimal=Decimal(49900), tiers_mode=None, tiers=(), usage_type="licensed",
    meter=None,
)  # fmt: skip
TIER_PRICE = Price(
    id="price_tiers", product="billing_st", currency="usd", lookup_key=TIERED.lookup_key, nickname="", is_active=True,
    billing_scheme="tiered", unit_amount_decimal=None, tiers_mode="graduated", usage_type="metered", meter="mtr_st",
    tiers=(PriceTier(up_to=1000, unit_amount_decimal=Decimal(0)),
           PriceTier(up_to=None, unit_amount_decimal=Decimal("0.25"))),
)  # fmt: skip
REMOTE = Remote(meters=METERS, products=PRODUCTS, prices=[FLAT_PRICE, TIER_PRICE])
KNOWN = Known(
    meters={"ST": "mtr_st", "RM": "mtr_rm", "CV": "mtr_cv"},
    products={kind.value: make_product_id(kind) for kind in PriceKind},
    prices={"flat_usd_49900": "price_flat", TIERED.lookup_key: "price_tiers"},
)


def test_an_empty_stripe_gets_everything_meters_and_products_first():
    plan = compare_catalog([FLAT, TIERED, FLAT], Remote(meters=[], products=[], prices=[]), NOTHING)
    assert [str(change) for change in plan.changes] == [
        "create meter ST",
        "create meter RM",
        "create meter CV",
        "create product sub",
        "create product ST",
        "create product RM",
        "create product CV",
        "create product managed",
        "create price flat_usd_49900",
        f"create price {TIERED.lookup_key}",
    ]
    assert (plan.conflicts, plan.unchanged) == ((), 0)


def test_nothing_to_do_when_all_is_there_and_written_down():
    plan = compare_catalog([FLAT, TIERED], REMOTE, KNOWN)
    assert (plan.changes, plan.conflicts, plan.unchanged, plan.unused) == ((), (), 10, ())


def test_what_stripe_has_and_we_forgot_is_adopted():
    plan = compare_catalog([FLAT, TIERED], REMOTE, NOTHING)
    assert len(plan.changes) == 10
    assert {change.action for change in plan.changes} == {"adopt"}


def test_another_id_than_the_one_written_down_is_adopted():
    known = replace(KNOWN, prices={**KNOWN.prices, "flat_usd_49900": "price_of_another_mode"})
    assert [str(change) for change in compare_catalog([FLAT, TIERED], REMOTE, known).changes] == [
        "adopt price flat_usd_49900 (price_flat)"
    ]


def test_a_product_under_another_name_is_renamed():
    remote = replace(REMOTE, products=[replace(PRODUCTS[0], name="Old"), *PRODUCTS[1:]])
    assert [str(change) for change in compare_catalog([], remote, KNOWN).changes] == [
        "rename product sub (billing_sub)"
    ]


def test_prices_that_no_plan_needs_are_named_and_left_alone():
    plan = compare_catalog([FLAT], REMOTE, KNOWN)
    assert (plan.changes, plan.unused) == ((), (TIERED.lookup_key,))


@pytest.mark.parametrize(
    ("difference", "reason"),
    [
        ({"unit_amount_decimal": Decimal(49901)}, "its amount is 49901"),
        ({"currency": "eur"}, "its currency is eur"),
        ({"is_active": False}, "it is archived"),
        ({"product": "prod_other"}, "its product is prod_other"),
        ({"usage_type": "metered"}, "its usage is metered"),
    ],
)
def test_a_flat_price_that_differs_is_a_conflict(difference, reason):
    remote = replace(REMOTE, prices=[replace(FLAT_PRICE, **difference), TIER_PRICE])
    plan = compare_catalog([FLAT, TIERED], remote, KNOWN)
    assert plan.changes == ()
    (conflict,) = plan.conflicts
    assert conflict.startswith(
        f"price price_flat has the lookup key flat_usd_49900, but {reason}: move the key away"
    )


@pytest.mark.parametrize(
    ("difference", "reason"),
    [
        ({"tiers": TIER_PRICE.tiers[1:]}, "its tiers differ"),
        (
            {"tiers": (replace(TIER_PRICE.tiers[0], flat_amount_decimal=Decimal(5)), TIER_PRICE.tiers[1])},
            "its tiers differ",
        ),
        ({"meter": "mtr_rm"}, "its meter is mtr_rm"),
        ({"tiers_mode": "volume"}, "its tiers are volume"),
    ],
)
def test_a_graduated_price_that_differs_is_a_conflict(difference, reason):
    remote = replace(REMOTE, prices=[FLAT_PRICE, replace(TIER_PRICE, **difference)])
    (conflict,) = compare_catalog([FLAT, TIERED], remote, KNOWN).conflicts
    assert reason in conflict


def test_inactive_meters_and_archived_products_are_conflicts():
    remote = replace(
        REMOTE,
        meters=[replace(METERS[0], status="inactive"), *METERS[1:]],
        products=[*PRODUCTS[:-1], replace(PRODUCTS[-1], is_active=False)],
    )
    assert compare_catalog([FLAT], remote, KNOWN).conflicts == (
        "meter impressions_st (mtr_st) is inactive at Stripe: reactivate it there",
        "product billing_managed is archived at Stripe: unarchive it there",
    )


def test_an_inactive_meter_beside_an_active_one_does_not_matter():
    old = replace(METERS[0], id="mtr_old", status="inactive")
    assert compare_catalog([FLAT, TIERED], replace(REMOTE, meters=[old, *METERS]), KNOWN).unchanged == 10
