from __future__ import annotations

from decimal import Decimal

import pytest

from billing_worker.catalog.keys import dump_tiers, load_tiers, make_flat_key, make_tier_key
from billing_worker.core.rating import Tier

TIERS = (Tier(100_000, Decimal(0)), Tier(None, Decimal("0.250000000000")))


@pytest.mark.parametrize(
    ("currency", "amount", "key"),
    [
        ("usd", "49900.000000000000", "flat_usd_49900"),
        ("EUR", "1E+3", "flat_eur_1000"),
        ("usd", "0", "flat_usd_0"),
        ("usd", "99.5", "flat_usd_99p5"),
        ("jpy", "48000", "flat_jpy_48000"),
    ],
)
def test_flat_keys(currency, amount, key):
    assert make_flat_key(currency, Decimal(amount)) == key


def test_tier_keys_depend_on_the_table_and_not_on_how_it_is_written():
    # Known for good: a changed rule would orphan every price at Stripe.
    assert make_tier_key("ST", "usd", TIERS) == "tiers_st_usd_3d31dac01240"
    same = (Tier(100_000, Decimal("0.00")), Tier(None, Decimal("0.25")))
    assert make_tier_key("ST", "USD", same) == make_tier_key("ST", "usd", TIERS)
    others = [
        make_tier_key("RM", "usd", TIERS),
        make_tier_key("ST", "eur", TIERS),
        make_tier_key("ST", "usd", (Tier(100_001, Decimal(0)), TIERS[1])),
        make_tier_key("ST", "usd", (TIERS[0], Tier(None, Decimal("0.2500001")))),
    ]
    assert len({make_tier_key("ST", "usd", TIERS), *others}) == 5


def test_tiers_survive_json():
    assert load_tiers(dump_tiers(TIERS)) == TIERS
    assert dump_tiers(TIERS)[1] == {"up_to": None, "unit_amount_decimal": "0.25"}
