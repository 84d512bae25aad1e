"""The sums that more than one kind of document prints, and those that must come out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final

from invoices.content import InvoiceContent
from invoices.formatting import Formatter
from invoices.papers.base import Fact, Sum, TaxRow
from invoices.taxes import Category, TaxGroup, differ, get_basis, group_taxes

#: What is printed of a category without tax, because the customer's own books depend on it.
TAX_NOTES: Final[Mapping[Category, str]] = {"AE": "reverse_charge_note", "E": "tax_exempt_note"}
#: The same in a narrow column. Beside a tax nothing is outside the scope of VAT.
_ROW_NAMES: Final[Mapping[Category, str]] = {"AE": "tax_row_reverse", "E": "tax_row_exempt"}


def list_totals(content: InvoiceContent) -> Iterator[tuple[str, int, int]]:
    """How an invoice's or credit note's total must come out: rule, our sum, Stripe's."""
    lines = sum(line.amount_minor for line in content.lines)
    if not (content.has_inclusive_taxes or content.inclusive_tax_minor):
        total = lines + content.total_tax_minor - content.total_discount_minor
        yield "lines + tax - discounts = total", total, content.total_minor
        return
    inside = sum(line.inclusive_tax_minor for line in content.lines)
    yield "taxes in the prices of the lines = Stripe's", inside, content.inclusive_tax_minor
    taxes = sum(line.tax_minor for line in content.lines)
    yield "every tax of the lines = Stripe's", taxes, content.total_tax_minor
    on_top = content.total_tax_minor - content.inclusive_tax_minor
    total = lines + on_top - content.total_discount_minor
    yield "lines with the taxes in their prices + tax on top - discounts = total", total, content.total_minor
    if content.total_excluding_tax_minor is not None:
        net = content.total_minor - content.total_tax_minor
        yield "total - every tax = Stripe's total without tax", net, content.total_excluding_tax_minor


def name_subtotal(content: InvoiceContent, texts: Mapping[str, str]) -> str:
    """`Subtotal`, or `Subtotal, tax included`."""
    is_included = content.has_inclusive_taxes and content.total_tax_minor == content.inclusive_tax_minor
    return texts["subtotal_included" if is_included else "subtotal"]


def build_taxes(content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]) -> list[Sum]:
    """A row for each rate on top with what it is charged on, and one for each reason that the law asks to print."""
    groups = group_taxes(content)
    on_top = content.total_tax_minor - content.inclusive_tax_minor
    shown = [group for group in groups if group.category in TAX_NOTES or _is_rated(group, is_inclusive=False)]
    taxes = [_split(group, is_inclusive=False) for group in shown]
    if sum(tax for _, tax in taxes) != on_top or not shown:
        if not on_top and content.has_inclusive_taxes:
            return []
        return [Sum(label=texts["tax"], amount=formatter.money(on_top, content.currency))]
    return [
        Sum(
            label=texts[TAX_NOTES[group.category]]
            if group.category in TAX_NOTES
            else texts["tax_on_top_at" if content.has_inclusive_taxes else "tax_at"].format(
                rate=formatter.decimal(group.rate or Decimal(0)),
                basis=formatter.money(basis, content.currency),
            ),
            amount=formatter.money(tax, content.currency),
        )
        for group, (basis, tax) in zip(shown, taxes, strict=True)
    ]


def build_included_taxes(
    content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]
) -> list[Sum]:
    """A row for each rate inside the prices with what it is charged on; it adds nothing to the total."""
    if not content.has_inclusive_taxes:
        return []
    shown = [group for group in group_taxes(content) if _is_rated(group, is_inclusive=True)]
    taxes = [_split(group, is_inclusive=True) for group in shown]
    if sum(tax for _, tax in taxes) != content.inclusive_tax_minor:
        inside = formatter.money(content.inclusive_tax_minor, content.currency)
        return [Sum(label=texts["tax_included"], amount=inside)]
    return [
        Sum(
            label=texts["tax_included_at"].format(
                rate=formatter.decimal(group.rate or Decimal(0)),
                basis=formatter.money(basis, content.currency),
            ),
            amount=formatter.money(tax, content.currency),
        )
        for group, (basis, tax) in zip(shown, taxes, strict=True)
    ]


def collect_tax_facts(content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]) -> list[Fact]:
    """What a document must say of the taxes in its prices."""
    taxes = build_included_taxes(content, formatter, texts)
    return [Fact("tax in the prices", tax.label, tax.amount) for tax in taxes]


def tell_included_tax(
    content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]
) -> list[tuple[str, str]]:
    """A mail's line about the taxes in the prices; none without."""
    if not content.has_inclusive_taxes:
        return []
    return [(texts["tax_included"], formatter.money(content.inclusive_tax_minor, content.currency))]


def _is_rated(group: TaxGroup, *, is_inclusive: bool) -> bool:
    return (
        group.category == "S"
        and bool(group.rate)
        and any(line.is_inclusive is is_inclusive for line in group.lines)
    )


def _split(group: TaxGroup, *, is_inclusive: bool) -> tuple[int, int]:
    """Basis and tax of the group's lines whose prices include it, or of the others."""
    lines = [line for line in group.lines if line.is_inclusive is is_inclusive]
    return sum(get_basis(line) for line in lines), sum(line.tax_minor for line in lines)


def build_tax_table(content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]) -> list[TaxRow]:
    """Rate, net, tax and gross for each rate and for all, where taxes are in prices and one row can't say it."""
    groups = group_taxes(content)
    if not content.has_inclusive_taxes or not differ(groups) or any(group.rate is None for group in groups):
        return []

    def build(label: str, net_minor: int, tax_minor: int) -> TaxRow:
        amounts = (net_minor, tax_minor, net_minor + tax_minor)
        net, tax, gross = (formatter.money(amount, content.currency) for amount in amounts)
        return TaxRow(label=label, net=net, tax=tax, gross=gross)

    rows = [
        build(_name_group(group, formatter, texts), group.basis_minor, group.tax_minor) for group in groups
    ]
    net = sum(group.basis_minor for group in groups)
    return [*rows, build(texts["total"], net, sum(group.tax_minor for group in groups))]


def _name_group(group: TaxGroup, formatter: Formatter, texts: Mapping[str, str]) -> str:
    if group.category in ("S", "Z"):
        return texts["percent"].format(rate=formatter.decimal(group.rate or Decimal(0)))
    return texts[_ROW_NAMES.get(group.category, "not_taxed_note")]
