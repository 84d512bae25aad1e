"""Texts by language, and paper by the customer's country. The locales are `billing_worker.accounts.locales`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from invoices.content import PageSize

TEXTS_DIR: Final = Path(__file__).parent / "texts"

#: Countries that print on Letter. https://en.wikipedia.org/wiki/Letter_(paper_size)
LETTER_COUNTRIES: Final = frozenset("US CA MX CL CO PH".split())


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
