"""The sums that more than one kind of document prints."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from invoices.content import InvoiceContent
from invoices.formatting import Formatter
from invoices.papers.base import Sum
from invoices.taxes import Category, group_taxes

#: What is printed of a category without tax, because the customer's own books depend on it.
TAX_NOTES: Final[Mapping[Category, str]] = {"AE": "reverse_charge_note", "E": "tax_exempt_note"}


def build_taxes(content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]) -> list[Sum]:
    """A row for each rate with what it is charged on, and one for each reason that the law asks to print."""
    groups = group_taxes(content)
    shown = [
        group for group in groups if group.category in TAX_NOTES or (group.category == "S" and group.rate)
    ]
    if sum(group.tax_minor for group in shown) != content.total_tax_minor or not shown:
        return [Sum(label=texts["tax"], amount=formatter.money(content.total_tax_minor, content.currency))]
    return [
        Sum(
            label=texts[TAX_NOTES[group.category]]
            if group.category in TAX_NOTES
            else texts["tax_at"].format(
                rate=formatter.decimal(group.rate or Decimal(0)),
                basis=formatter.money(group.basis_minor, content.currency),
            ),
            amount=formatter.money(group.tax_minor, content.currency),
        )
        for group in shown
    ]
