"""Money in integer minor units beside a currency, with one rounding rule.

Amounts are `int` minor units (cents; whole yen). Rates and intermediate results are `Decimal` minor units. The one
rounding rule is `round_half_up`: to the nearest minor unit, a tie away from zero, once per invoice line. It is
Stripe's rule for invoice lines and the old service's rule, which is why the two sides can agree to the cent.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from billing_worker.core.errors import InvalidInput

#: Currencies without a minor unit. https://docs.stripe.com/currencies#zero-decimal
ZERO_DECIMAL: Final = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf".split())

#: Currencies with two places that Stripe bills. Left out on purpose: those with three places (KWD, BHD, ...) and those
#: that Stripe writes with other places than they have (ISK, UGX). https://docs.stripe.com/currencies#special-cases
TWO_DECIMAL: Final = frozenset(
    (
        "usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad cdf "
        "chf cny cop crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr "
        "ils inr jmd kes kgs khr kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn "
        "nad ngn nio nok npr nzd pab pen pgk php pkr pln qar ron rsd rub sar sbd scr sek sgd shp sle sos srd "
        "std szl thb tjs top try ttd twd tzs uah uyu uzs wst xcd yer zar zmw"
    ).split()
)


def is_supported_currency(currency: str) -> bool:
    """Whether amounts in this currency can be billed here without knowing more about it. Either case."""
    code = currency.lower()
    return code in TWO_DECIMAL or (code in ZERO_DECIMAL and code != "ugx")


def get_exponent(currency: str) -> int:
    """Decimal places of the currency's minor unit: 0 for JPY, 2 for USD. ISO code in either case."""
    return 0 if currency.lower() in ZERO_DECIMAL else 2


def round_half_up(amount: Decimal) -> int:
    """Round a `Decimal` of minor units to whole minor units, ties away from zero (2.5 -> 3, -2.5 -> -3)."""
    return int(amount.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def to_minor_decimal(amount: Decimal, currency: str) -> Decimal:
    """Major units (dollars) to exact `Decimal` minor units (cents); nothing is rounded."""
    return amount.scaleb(get_exponent(currency))


def to_minor(amount: Decimal, currency: str) -> int:
    """Major units (dollars) to whole minor units (cents).

    Raises:
        InvalidInput: the amount has a fraction of a minor unit. Rounding it here would hide drift.
    """
    minor = to_minor_decimal(amount, currency)
    if minor != minor.to_integral_value():
        raise InvalidInput(f"{amount} {currency.upper()} is not a whole number of minor units")
    return int(minor)


def to_major(amount_minor: int, currency: str) -> Decimal:
    """Whole minor units to major units with the currency's number of places (12345 usd -> 123.45)."""
    return Decimal(amount_minor).scaleb(-get_exponent(currency))


def format_minor(amount_minor: int, currency: str) -> str:
    """Plain figures for logs and tables: `-1,234.50 USD`, `1,235 JPY`. Invoices format through Babel instead."""
    return f"{to_major(amount_minor, currency):,.{get_exponent(currency)}f} {currency.upper()}"


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An amount in minor units with its currency (lower case ISO 4217)."""

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        if isinstance(self.amount_minor, bool) or not isinstance(self.amount_minor, int):
            raise TypeError("amount_minor must be an int of minor units")
        object.__setattr__(self, "currency", self.currency.lower())

    def __add__(self, other: Money) -> Money:
        self._check(other)
        return Money(self.amount_minor + other.amount_minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._check(other)
        return Money(self.amount_minor - other.amount_minor, self.currency)

    def __neg__(self) -> Money:
        return Money(-self.amount_minor, self.currency)

    def __str__(self) -> str:
        return format_minor(self.amount_minor, self.currency)

    def _check(self, other: Money) -> None:
        if self.currency != other.currency:
            raise ValueError(f"cannot combine {self.currency} with {other.currency}")
