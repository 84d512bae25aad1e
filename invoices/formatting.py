"""Money, numbers and dates as the customer's locale writes them. Text in, text out: no rounding happens here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache

from babel import Locale
from babel.dates import format_date, format_interval, format_skeleton
from babel.numbers import format_compact_decimal, format_currency, format_decimal

from billing_worker.core.money import get_exponent, to_major


@dataclass(frozen=True, slots=True)
class Formatter:
    """Formats for one locale, like `de_DE`."""

    locale: Locale

    def money(self, amount_minor: int, currency: str) -> str:
        """`$1,234.50`, `1.234,50 €`, `¥1,235`: the currency's own number of places."""
        return format_currency(to_major(amount_minor, currency), currency.upper(), locale=self.locale)

    def unit_price(self, unit_amount_decimal: Decimal, currency: str, *, units: int = 1) -> str:
        """The exact price of `units` units, with as many places as it has and at least the currency's."""
        price = (unit_amount_decimal * units).scaleb(-get_exponent(currency)).normalize()
        if price == price.to_integral_value():
            price = price.quantize(Decimal(1))
        return format_currency(price, currency.upper(), locale=self.locale, decimal_quantization=False)

    def number(self, value: int) -> str:
        return format_decimal(value, locale=self.locale)

    def compact(self, value: int) -> str:
        """Short, for a scale: `250K`, `250.000`, `25万`."""
        short = format_compact_decimal(value, format_type="short", locale=self.locale, fraction_digits=1)
        return self.number(value) if short.isdigit() else short

    def decimal(self, value: Decimal) -> str:
        """With the places that it has: `19`, `8,875`."""
        return format_decimal(value.normalize(), locale=self.locale, decimal_quantization=False)

    def date(self, moment: datetime) -> str:
        """The UTC day, written out: `1 November 2026`, `1. November 2026`."""
        return format_date(moment, format="long", locale=self.locale)

    def days(self, start: datetime, end: datetime) -> str:
        """The days of the half-open period, like `1 to 31 Oct 2026`; a single day if it holds no more than one."""
        last = max(start, end - timedelta(microseconds=1))
        if start.date() == last.date():
            return self.short_date(start)
        return format_interval(start.date(), last.date(), "yMMMd", locale=self.locale)

    def day(self, moment: datetime) -> str:
        """The UTC day without its year: `Oct 31`, `31. Okt.`."""
        return format_skeleton("MMMd", moment, locale=self.locale)

    def short_date(self, moment: datetime) -> str:
        return format_date(moment, format="medium", locale=self.locale)


@cache
def get_formatter(locale: str) -> Formatter:
    return Formatter(Locale.parse(locale))
