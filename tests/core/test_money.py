from __future__ import annotations

from decimal import Decimal

import pytest

from billing_worker.core.errors import InvalidInput
from billing_worker.core.money import (
    Money,
    format_minor,
    is_supported_currency,
    round_half_up,
    to_major,
    to_minor,
    to_minor_decimal,
)


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [
        ("0.4999999", 0), ("0.5", 1), ("1.5", 2), ("2.5", 3), ("2.4999999999999999999999", 2), ("4999.5", 5000),
        ("-0.5", -1), ("-2.5", -3), ("-2.4", -2), ("0", 0), ("123456789012345678.5", 123456789012345679),
    ],
)  # fmt: skip
def test_a_tie_goes_away_from_zero(amount, rounded):
    assert round_half_up(Decimal(amount)) == rounded


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [("499.90", "USD", 49990), ("0.01", "eur", 1), ("48000.00", "JPY", 48000), ("-5.00", "usd", -500)],
)
def test_major_units_become_minor_units(amount, currency, minor):
    assert to_minor(Decimal(amount), currency) == minor
    assert to_major(minor, currency) == Decimal(amount)


@pytest.mark.parametrize(("amount", "currency"), [("0.001", "usd"), ("10.50", "jpy"), ("1.999999", "eur")])
def test_a_fraction_of_a_minor_unit_is_refused_rather_than_rounded(amount, currency):
    with pytest.raises(InvalidInput, match=f"{amount} {currency.upper()} is not a whole number"):
        to_minor(Decimal(amount), currency)
    assert to_minor_decimal(Decimal("0.001"), "usd") == Decimal("0.1")


def test_plain_figures():
    assert format_minor(-123450, "usd") == "-1,234.50 USD"
    assert format_minor(1235, "jpy") == "1,235 JPY"
    assert str(Money(5, "EUR")) == "0.05 EUR"


@pytest.mark.parametrize("code", ["usd", "EUR", "JPY", "gbp", "krw"])
def test_currencies_with_none_or_two_places_can_be_billed(code):
    assert is_supported_currency(code)


@pytest.mark.parametrize("code", ["", "xxx", "kwd", "BHD", "isk", "ugx", "US", "usdd"])
def test_others_can_not(code):
    assert not is_supported_currency(code)


def test_money_adds_up_within_a_currency_only():
    assert Money(5, "USD") + Money(7, "usd") - Money(2, "usd") == Money(10, "usd")
    assert -Money(5, "usd") == Money(-5, "usd")
    with pytest.raises(ValueError, match="cannot combine usd with eur"):
        Money(5, "usd") + Money(5, "eur")


@pytest.mark.parametrize("amount", [1.5, True, Decimal(1), "1"])
def test_money_is_an_int_of_minor_units(amount):
    with pytest.raises(TypeError):
        Money(amount, "usd")
