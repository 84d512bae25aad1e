"""Which tax a line bears, and what that makes for the whole document: category, rate, basis and amount.

Stripe computes the tax; we name it. The categories are those of EN 16931 (UNTDID 5305): S a rate above zero, Z a rate
of zero, E exempt, AE reverse charge (the customer owes the tax), O outside the scope of VAT. The rules, in order:

1. A line with tax is S at the sum of its rates, and so is one too small for a cent of it.
2. Without tax, Stripe's reason for the line decides, then the customer's exemption.
3. If nothing says why, no VAT is meant: O where no line of the document bears any, else E.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, Literal

from billing_worker.core.money import round_half_up
from invoices.content import ContentLine, InvoiceContent

Category = Literal["S", "Z", "E", "AE", "O"]

#: Stripe's taxability reasons of a line without tax. https://docs.stripe.com/api/invoice-line-item/object
_BY_REASON: Final[Mapping[str, Category]] = {
    "reverse_charge": "AE",
    "zero_rated": "Z",
    "customer_exempt": "E",
    "product_exempt": "E",
    "product_exempt_holiday": "E",
    "portion_product_exempt": "E",
    "not_collecting": "O",
    "not_subject_to_tax": "O",
    "not_supported": "O",
}
_BY_CUSTOMER: Final[Mapping[str, Category]] = {"reverse": "AE", "exempt": "E"}
_ORDER: Final[Sequence[Category]] = ("S", "Z", "E", "AE", "O")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxGroup:
    """All lines of one category and rate. The basis is after discounts; `rate` is None where it can't be told."""

    category: Category
    rate: Decimal | None
    basis_minor: int
    discount_minor: int
    tax_minor: int
    lines: tuple[ContentLine, ...]


def group_taxes(content: InvoiceContent) -> list[TaxGroup]:
    """The document's tax breakdown: standard rates first, then the categories without tax."""
    rates = find_rates(content)
    groups: dict[tuple[Category, Decimal | None], list[ContentLine]] = {}
    for line in content.lines:
        if line.id in rates:
            groups.setdefault(("S", rates[line.id]), []).append(line)
        else:
            category = _choose_category(line, content.tax_exempt, has_tax=bool(rates))
            groups.setdefault((category, Decimal(0)), []).append(line)
    found = [
        TaxGroup(
            category=category,
            rate=rate,
            basis_minor=sum(_get_base(line) for line in lines),
            discount_minor=sum(line.discount_minor for line in lines),
            tax_minor=sum(line.tax_minor for line in lines),
            lines=tuple(lines),
        )
        for (category, rate), lines in groups.items()
    ]
    return sorted(found, key=lambda group: (_ORDER.index(group.category), -(group.rate or 0)))


def find_rates(content: InvoiceContent) -> dict[str, Decimal | None]:
    """The percentage of each line that bears tax, by line id: Stripe's, else the one that explains them all.

    A line too small for a cent of tax (a free tier) bears the document's rate like the others, unless Stripe says why
    it does not. None: there is tax, and no rate explains it.
    """
    taxed = [line for line in content.lines if line.tax_minor]
    told = {line.id: _add_rates(line) for line in content.lines}
    inferred = infer_rate((_get_base(line), line.tax_minor) for line in taxed if told[line.id] is None)
    found = {line.id: told[line.id] if told[line.id] is not None else inferred for line in taxed}
    usual = max(taxed, key=lambda line: line.tax_minor, default=None)
    for line in content.lines:
        if line.tax_minor or any(tax.reason in _BY_REASON for tax in line.taxes):
            continue
        rate = told[line.id] or (found[usual.id] if usual else None)
        if rate and round_half_up(_get_base(line) * rate / 100) == 0:
            found[line.id] = rate
    return found


def infer_rate(pairs: Iterable[tuple[int, int]]) -> Decimal | None:
    """The percentage with the fewest places that explains every `(taxable, tax)`, to half a minor unit each.

    None if there is none with up to three places, or nothing to tell it from.
    """
    known = [(Decimal(taxable), Decimal(tax)) for taxable, tax in pairs]
    basis = sum((taxable for taxable, _ in known), Decimal(0))
    if not basis:
        return None
    whole = sum((tax for _, tax in known), Decimal(0)) * 100 / basis
    for places in range(4):
        rate = whole.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
        if all(abs(taxable * rate / 100 - tax) <= Decimal("0.5") for taxable, tax in known):
            return rate
    return None


def _get_base(line: ContentLine) -> int:
    return line.amount_minor - line.discount_minor


def _add_rates(line: ContentLine) -> Decimal | None:
    """The sum of the rates that Stripe tells of a line, None if it tells none or not all."""
    rates = [tax.percentage for tax in line.taxes]
    if not rates or None in rates:
        return None
    return sum((rate for rate in rates if rate is not None), Decimal(0))


def _choose_category(line: ContentLine, tax_exempt: str, *, has_tax: bool) -> Category:
    told = [_BY_REASON[tax.reason] for tax in line.taxes if tax.reason in _BY_REASON]
    category = told[0] if told else _BY_CUSTOMER.get(tax_exempt, "O")
    # EN 16931 knows no invoice that is partly outside the scope of VAT (BR-O-11).
    return "E" if category == "O" and has_tax else category
