"""Language, number format and paper by the customer's country."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from invoices.content import PageSize

DEFAULT_LOCALE: Final = "en_US"
TEXTS_DIR: Final = Path(__file__).parent / "texts"

#: Country -> Babel locale. A country that is not listed reads English.
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
#: Countries that print on Letter. https://en.wikipedia.org/wiki/Letter_(paper_size)
LETTER_COUNTRIES: Final = frozenset("US CA MX CL CO PH".split())


def choose_locale(country: str) -> str:
    """The Babel locale for an ISO 3166-1 alpha-2 country (either case; empty = the default)."""
    return LOCALES.get(country.upper(), DEFAULT_LOCALE)


def choose_page_size(country: str) -> PageSize:
    return "Letter" if not country or country.upper() in LETTER_COUNTRIES else "A4"


def get_language(locale: str) -> str:
    """`de` of `de_AT`."""
    return locale.partition("_")[0]


@cache
def get_texts(language: str) -> Mapping[str, str]:
    """Every fixed text of invoices and mails in a language; a test holds the languages against each other."""
    path = TEXTS_DIR / f"{language}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))
