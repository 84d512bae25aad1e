"""The catalog applied to the stand-in for Stripe, over HTTP, as the commands do it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command

from billing_worker import gateway
from billing_worker.catalog.models import CatalogMeter, CatalogPrice, CatalogProduct
from billing_worker.catalog.selectors import (
    NotInCatalog,
    get_flat_price,
    get_kind_for_price,
    get_kind_for_product,
    get_meter,
    get_product,
    get_tier_price,
)
from billing_worker.catalog.services import CatalogConflict, apply_catalog, get_wanted_prices, plan_catalog
from billing_worker.core.rating import Tier
from tests.factories import AccountFactory, AccountPlanFactory, CustomerAccountFactory, make_tiers

pytestmark = pytest.mark.django_db
AT = date(2026, 10, 1)
TIERS = (Tier(1000, Decimal(0)), Tier(None, Decimal("0.25")))


@pytest.fixture
def stripe(sandbox_server, settings):
    """An empty stand-in for Stripe that the gateway speaks to."""
    sandbox_server.reset()
    settings.ENV = settings.ENV.model_copy(update={"STRIPE_API_BASE": sandbox_server.url})


@pytest.fixture
def accounts():
    parent = CustomerAccountFactory.create()
    make_tiers(parent, "ST", (1000, "0"), (None, "0.25"))
    child = AccountFactory.create(parent=parent)
    make_tiers(child, "ST", (None, "9"))
    same = AccountFactory.create()
    make_tiers(same, "ST", (1000, "0"), (None, "0.25"))
    AccountPlanFactory.create(account=parent, effective_to=date(2026, 10, 15))
    AccountPlanFactory.create(account=parent, effective_from=date(2026, 10, 15), unit_amount_decimal=59900)
    AccountPlanFactory.create(account=child)
    AccountPlanFactory.create(account=same, unit_amount_decimal=48000, effective_from=date(2026, 12, 1))
    AccountPlanFactory.create(account=AccountFactory.create(currency="jpy"), unit_amount_decimal=48000)


def test_each_distinct_price_of_this_month_and_the_next_is_wanted_once(accounts):
    keys = sorted(price.lookup_key for price in get_wanted_prices(at=AT))
    assert keys == ["flat_jpy_48000", "flat_usd_49900", "flat_usd_59900", get_wanted_tier_key()]
    later = {price.lookup_key for price in get_wanted_prices(at=date(2026, 12, 5))}
    assert later == {"flat_jpy_48000", "flat_usd_49900", "flat_usd_59900", "flat_usd_48000", keys[-1]}


def get_wanted_tier_key() -> str:
    return next(price.lookup_key for price in get_wanted_prices(at=AT) if price.tiers)


def test_apply_creates_once_and_then_has_nothing_to_do(stripe, accounts):
    first = apply_catalog(at=AT)
    second = plan_catalog(at=AT)

    assert (len(first.changes), second.changes, second.unchanged) == (12, (), 12)
    assert sorted(meter.event_name for meter in gateway.list_meters()) == [
        "impressions_cv",
        "impressions_rm",
        "impressions_st",
    ]
    price = get_tier_price("ST", "usd", TIERS)
    (remote,) = gateway.list_prices(lookup_keys=[price.lookup_key])
    assert (remote.id, remote.meter) == (price.stripe_price_id, get_meter("ST").stripe_meter_id)
    assert [(tier.up_to, tier.unit_amount_decimal) for tier in remote.tiers] == [
        (1000, Decimal(0)),
        (None, Decimal("0.25")),
    ]
    assert get_flat_price("jpy", Decimal(48000)).unit_amount_decimal == 48000
    assert get_kind_for_product(get_product("managed").stripe_product_id) == "managed"
    assert get_kind_for_price(price.stripe_price_id) == "ST"


def test_an_interrupted_run_is_resumed_and_what_exists_is_adopted(stripe, accounts):
    def stop_after_nine(changes):
        yield from changes[:9]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply_catalog(at=AT, progress=stop_after_nine)
    # The ninth was made at Stripe, and the note of it was lost.
    CatalogPrice.objects.all().delete()

    plan = apply_catalog(at=AT)

    assert [change.action for change in plan.changes] == ["adopt", "create", "create", "create"]
    assert len(gateway.list_prices()) == 4
    assert plan_catalog(at=AT).changes == ()


def test_lost_notes_are_taken_up_again_without_a_second_object(stripe, accounts):
    apply_catalog(at=AT)
    ids = {price.lookup_key: price.stripe_price_id for price in CatalogPrice.objects.all()}
    for model in (CatalogMeter, CatalogProduct, CatalogPrice):
        model.objects.all().delete()

    plan = apply_catalog(at=AT)

    assert {change.action for change in plan.changes} == {"adopt"}
    assert {price.lookup_key: price.stripe_price_id for price in CatalogPrice.objects.all()} == ids
    assert (len(gateway.list_meters()), len(gateway.list_prices())) == (3, 4)


def test_a_foreign_price_under_our_key_stops_everything(stripe, accounts):
    gateway.create_product(id="theirs", name="Theirs", metadata={}, idempotency_key="a")
    gateway.create_flat_price(
        product="theirs",
        currency="usd",
        unit_amount_decimal=Decimal(1),
        lookup_key="flat_usd_49900",
        nickname="Theirs",
        metadata={},
        idempotency_key="b",
    )

    with pytest.raises(CatalogConflict, match="its product is theirs, its amount is 1"):
        apply_catalog(at=AT)

    assert gateway.list_meters() == []


def test_the_commands(stripe, accounts, capsys):
    with pytest.raises(CommandError) as refused:
        call_command("catalog_plan", "--at", "2026-10-01", "--check")
    assert refused.value.returncode == 1
    assert "+ create price flat_usd_49900\n" in capsys.readouterr().out

    call_command("catalog_apply", "--at", "2026-10-01")
    call_command("catalog_plan", "--at", "2026-10-01", "--check")
    assert capsys.readouterr().out.endswith("0 change(s), 0 conflict(s), 12 in place\n")


def test_without_stripe_the_plan_is_one_line_that_says_so(accounts):
    with pytest.raises(CommandError) as refused:
        call_command("catalog_plan")
    assert refused.value.returncode == 2
    assert "\n" not in str(refused.value)


def test_what_is_not_in_the_catalog_says_how_to_get_it():
    for look in (
        lambda: get_meter("ST"),
        lambda: get_product("sub"),
        lambda: get_flat_price("usd", Decimal(1)),
        lambda: get_tier_price("ST", "usd", TIERS),
    ):
        with pytest.raises(NotInCatalog, match="run catalog_apply"):
            look()
    assert get_kind_for_product("prod_other") is None
    assert get_kind_for_price("price_other") is None
