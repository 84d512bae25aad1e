"""The locales that documents and mails can be written in, and which one a country reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DEFAULT_LOCALE: Final = "en_US"

#: Country -> locale as Babel names it. A country that is not listed reads English.
LOCALES: Final[Mapping[str, str]] = {
    "US": "en_US",
    "CA": "en_CA",
    "GB": "en_GB",
    "IE": "en_IE",
    "AU": "en_AU",
    "DE": "de_DE",
    "AT": "de_AT",
    "CH": "de_CH",
    "LI": "de_LI",
    "FR": "fr_FR",
    "LU": "fr_LU",
    "MC": "fr_MC",
    "ES": "es_ES",
    "MX": "es_MX",
    "AR": "es_AR",
    "CL": "es_CL",
    "CO": "es_CO",
    "PE": "es_PE",
    "JP": "ja_JP",
}
#: Written by nobody's country alone, but chosen by an account: French in Canada and Switzerland.
_FURTHER: Final = ("fr_CA", "fr_CH")
_LANGUAGES: Final = {"en": "English", "de": "German", "fr": "French", "es": "Spanish", "ja": "Japanese"}

LOCALE_CHOICES: Final = [
    (locale, f"{_LANGUAGES[locale[:2]]} ({locale[3:]})") for locale in sorted({*LOCALES.values(), *_FURTHER})
]


def choose_locale(country: str, preferred: str = "") -> str:
    """The account's own locale if it has one, else that of its ISO 3166-1 alpha-2 country (either case)."""
    return preferred or LOCALES.get(country.upper(), DEFAULT_LOCALE)


def list_preferred_locales(locale: str) -> tuple[str, ...]:
    """A locale as Stripe takes it: the exact one, then its language (`de_AT` -> `de-AT`, `de`)."""
    return locale.replace("_", "-"), locale.partition("_")[0]
