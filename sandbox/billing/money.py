"""Amounts in minor units: rounding, minimum charges and how a price is written on an invoice line."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

# https://docs.stripe.com/currencies#minor-units: currencies without a minor unit, and those with three decimals.
ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf".split())
THREE_DECIMAL = frozenset("bhd jod kwd omr tnd".split())

# https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts, in minor units.
MINIMUM_CHARGE_MINOR = {
    "usd": 50, "eur": 50, "jpy": 50, "gbp": 30, "aud": 50, "cad": 50, "chf": 50, "brl": 50, "inr": 50, "nzd": 50,
    "sgd": 50, "dkk": 250, "nok": 300, "sek": 300, "czk": 1500, "hkd": 400, "huf": 17500, "mxn": 1000, "myr": 200,
    "pln": 200, "ron": 200, "thb": 1000, "aed": 200, "bgn": 100,
}  # fmt: skip
DEFAULT_MINIMUM_CHARGE_MINOR = 50

SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}


def round_half_up(amount: Decimal) -> int:
    """Round an exact amount in minor units to whole minor units, halves away from zero."""
    return int(amount.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def minimum_charge_minor(currency: str) -> int:
    """The least that can be charged in `currency`, in minor units; a smaller total goes to the balance."""
    return MINIMUM_CHARGE_MINOR.get(currency.lower(), DEFAULT_MINIMUM_CHARGE_MINOR)


def minor_digits(currency: str) -> int:
    """How many decimals the major unit of `currency` has."""
    code = currency.lower()
    if code in ZERO_DECIMAL:
        return 0
    return 3 if code in THREE_DECIMAL else 2


def decimal_text(value: Decimal) -> str:
    """Write a decimal as Stripe does in `*_decimal` fields: plain, without trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def display_amount(amount_minor: Decimal, currency: str) -> str:
    """Write an amount for a line description, for example `$0.0015` or `¥500`; never fewer than the minor digits."""
    digits = minor_digits(currency)
    major = amount_minor.scaleb(-digits)
    text = decimal_text(major)
    whole, _, fraction = text.partition(".")
    if digits:
        fraction = fraction.ljust(digits, "0")
    number = f"{whole}.{fraction}" if fraction else whole
    symbol = SYMBOLS.get(currency.lower())
    if symbol is None:
        return f"{currency.upper()} {number}"
    return f"-{symbol}{number[1:]}" if number.startswith("-") else f"{symbol}{number}"
