"""The lines of a document, grouped as a reader looks for them: subscription, each usage type with its tiers, jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from billing_worker.core.rating import USAGE_TYPES
from invoices.content import ContentLine, InvoiceContent
from invoices.formatting import Formatter
from invoices.rendering.fonts import make_printable
from invoices.taxes import describe_line_taxes

#: Usage is priced per impression and shown per thousand, as the contract says it.
UNITS_SHOWN: Final = 1000
_ORDER: Final = {"sub": 0, "ST": 1, "RM": 2, "CV": 3, "sampled": 4, "managed": 5, "custom": 6}
_TITLES: Final = {
    "sub": "subscription",
    "ST": "usage_st",
    "RM": "usage_rm",
    "CV": "usage_cv",
    "sampled": "usage_sampled",
    "managed": "managed",
    "custom": "other",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One printed line. `is_free` says that it is a tier that costs nothing.

    `continued`, `brought` and `carried` are printed if a page begins or ends with it, and with one that `stays` no page
    ends: see `invoices.carrying`.
    """

    description: str
    detail: str = ""
    quantity: str = ""
    unit_price: str = ""
    amount: str = ""
    amount_minor: int = 0
    is_free: bool = False
    continued: str = ""
    brought: str = ""
    carried: str = ""
    stays: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Lines of one kind and period, and for usage of one account: the tiers that were used, in order."""

    title: str
    note: str
    rows: Sequence[Row]
    unit_note: str = ""
    total_label: str = ""
    total_quantity: str = ""
    total: str = ""


def build_sections(content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]) -> list[Section]:
    """Sections in reading order; within one, Stripe's order of the lines holds."""
    builder = _Builder(content, formatter, texts, describe_line_taxes(content, formatter, texts))
    return [builder.build(lines) for lines in group_lines(content)]


def group_lines(content: InvoiceContent) -> list[list[ContentLine]]:
    """The lines that are shown, in sections and reading order; an invoice is never shown without a line."""
    shown = [line for line in content.lines if not _is_opening_line(line)] or content.lines
    lines = sorted(enumerate(shown), key=lambda item: (*_group_key(item[1]), item[0]))
    return [list(group) for _, group in groupby((line for _, line in lines), key=_group_key)]


def get_title(line: ContentLine, texts: Mapping[str, str]) -> str:
    """The heading of the section that a line belongs to."""
    return texts[_TITLES[line.kind]]


def find_common_tax(lines: Sequence[ContentLine], taxes: Mapping[str, str]) -> str:
    """What is said of the tax of each of these lines, if it is the same of all that cost something; else nothing."""
    told = {taxes.get(line.id, "") for line in lines if line.amount_minor}
    return told.pop() if len(told) == 1 else ""


def name_tier(
    before: int, quantity: int, formatter: Formatter, texts: Mapping[str, str], *, is_only: bool
) -> str:
    """`First 1,000`, `Next 500 (1,001 to 1,500)`: a tier by the units in it and those before it."""
    number = formatter.number
    if is_only:
        return texts["tier_all"]
    if before == 0:
        return texts["tier_first"].format(to=number(quantity))
    return texts["tier_next"].format(
        count=number(quantity), **{"from": number(before + 1), "to": number(before + quantity)}
    )


def _is_opening_line(line: ContentLine) -> bool:
    """Stripe opens a subscription with a line per meter: no time has passed, nothing was used, nothing is charged."""
    is_empty = line.period_start == line.period_end and not line.quantity and not line.amount_minor
    return is_empty and line.kind in (*USAGE_TYPES, "sampled")


def _group_key(line: ContentLine) -> tuple[int, float, float, int]:
    """Jobs and other items stand together whatever their dates; fees and usage are told apart by period."""
    order = _ORDER[line.kind]
    if line.kind in ("managed", "custom"):
        return order, 0, 0, 0
    start, end = line.period_start.timestamp(), line.period_end.timestamp()
    owner = (line.account_id or 0) if line.kind in USAGE_TYPES else 0
    return order, start, end, owner


@dataclass(frozen=True, slots=True)
class _Builder:
    content: InvoiceContent
    formatter: Formatter
    texts: Mapping[str, str]
    taxes: Mapping[str, str]

    def build(self, lines: Sequence[ContentLine]) -> Section:
        first = lines[0]
        is_usage = first.kind in USAGE_TYPES
        title = self.texts[_TITLES[first.kind]]
        notes = []
        if first.kind in _ORDER and first.kind not in ("managed", "custom"):
            notes.append(self.formatter.days(first.period_start, first.period_end))
        if is_usage and first.account_id != self.content.account_id:
            notes.append(self._name_owner(first))
        common = find_common_tax(lines, self.taxes)
        notes.append(common)
        taxes = {} if common else self.taxes
        has_total = len(lines) > 1
        total = sum(line.amount_minor for line in lines)
        units = sum(line.quantity or 0 for line in lines)
        return Section(
            title=title,
            note=" · ".join(note for note in notes if note),
            unit_note=self.texts["per_thousand"] if is_usage else "",
            rows=self._build_tiers(lines, taxes)
            if is_usage
            else [self._build_row(line, taxes) for line in lines],
            total_label=self.texts["section_total"].format(section=title) if has_total else "",
            total_quantity=self.formatter.number(units) if has_total and is_usage else "",
            total=self._money(total) if has_total else "",
        )

    def _build_tiers(self, lines: Sequence[ContentLine], taxes: Mapping[str, str]) -> list[Row]:
        """One row per tier used. Stripe lists tiers upwards, so the units before a row are where it begins."""
        rows = []
        before = 0
        for line in lines:
            quantity = line.quantity or 0
            is_free = line.unit_amount_decimal == 0
            rows.append(
                Row(
                    description=name_tier(
                        before, quantity, self.formatter, self.texts, is_only=len(lines) == 1
                    ),
                    detail=" · ".join(self._describe_terms(line, taxes)),
                    quantity=self.formatter.number(quantity),
                    unit_price=self.texts["free"] if is_free else self._unit_price(line, units=UNITS_SHOWN),
                    amount=self._money(line.amount_minor),
                    amount_minor=line.amount_minor,
                    is_free=is_free,
                )
            )
            before += quantity
        return rows

    def _build_row(self, line: ContentLine, taxes: Mapping[str, str]) -> Row:
        details = []
        if line.account_id is not None and line.account_id != self.content.account_id:
            details.append(self._name_owner(line))
        if line.kind in ("managed", "custom"):
            details.append(self.formatter.days(line.period_start, line.period_end))
        details += self._describe_terms(line, taxes)
        return Row(
            description=make_printable(line.description) or self.texts["monthly_fee"],
            detail=" · ".join(details),
            quantity=self.formatter.number(line.quantity) if line.quantity is not None else "",
            unit_price=self._unit_price(line),
            amount=self._money(line.amount_minor),
            amount_minor=line.amount_minor,
        )

    def _describe_terms(self, line: ContentLine, taxes: Mapping[str, str]) -> list[str]:
        told = [self.texts["prorated"] if line.is_proration else "", taxes.get(line.id, "")]
        return [text for text in told if text]

    def _name_owner(self, line: ContentLine) -> str:
        name = make_printable(line.account_name) or str(line.account_id)
        return self.texts["for_account"].format(account=name)

    def _unit_price(self, line: ContentLine, *, units: int = 1) -> str:
        if line.unit_amount_decimal is None:
            return ""
        return self.formatter.unit_price(line.unit_amount_decimal, self.content.currency, units=units)

    def _money(self, amount_minor: int) -> str:
        return self.formatter.money(amount_minor, self.content.currency)
