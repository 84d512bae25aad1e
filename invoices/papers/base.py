"""What every kind of document tells the page, the mail and the truth check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from invoices.sections import Section


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    label: str
    amount: str
    is_strong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxRow:
    """What one rate is charged on, what it comes to, and both."""

    label: str
    net: str
    tax: str
    gross: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """The parts of a page that differ between kinds. `texts` are the page's fixed words, where a kind has its own."""

    texts: Mapping[str, str]
    running_title: str
    facts: Sequence[tuple[str, str]]
    headline: str
    headline_label: str
    headline_note: str
    stamp: str
    stamp_class: str
    pay_url: str
    sections: Sequence[Section]
    sums: Sequence[Sum]
    show_remittance: bool
    taxes: Sequence[TaxRow] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MailWords:
    """What a mail says of its document, in one language."""

    subject: str
    intro: str
    amount_note: str
    facts: tuple[tuple[str, str], ...]
    pay_url: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that the document must say: `value` beside `label`, both in its language."""

    name: str
    label: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One sum that does not come out. `message` shows the arithmetic to a person."""

    rule: str
    expected_minor: int
    actual_minor: int
    message: str
