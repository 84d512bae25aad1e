"""Which tax a line bears, and what that makes for the whole document: category, rate, basis and amount.

Stripe computes the tax; we name it. The categories are those of EN 16931 (UNTDID 5305): S a rate above zero, Z a rate
of zero, E exempt, AE reverse charge (the customer owes the tax), O outside the scope of VAT. The rules, in order:

1. A line with tax is S at the sum of its rates, and so is one too small for a cent of it.
2. Without tax, Stripe's reason for the line decides, then the customer's exemption.
3. If nothing says why, no VAT is meant: O where no line of the document bears any, else E.

A tax is on top of a line's amount or inside it (`inclusive`). What it is charged on is the same: the amount, less the
discount, less the taxes inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, Literal

from billing_worker.core.money import round_half_up
from invoices.content import ContentLine, InvoiceContent, LineTax
from invoices.formatting import Formatter

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
_HUNDRED: Final = Decimal(100)
_ORDER: Final[Sequence[Category]] = ("S", "Z", "E", "AE", "O")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxGroup:
    """All lines of one category and rate; `rate` is None where it can't be told.

    The basis is after discounts and without any tax. `discount_minor` is without the tax inside of it, so that the
    lines without taxes less the discount are the basis. `inclusive_tax_minor` is the part of the tax that is in prices.
    """

    category: Category
    rate: Decimal | None
    basis_minor: int
    discount_minor: int
    tax_minor: int
    inclusive_tax_minor: int
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
            basis_minor=sum(get_basis(line) for line in lines),
            discount_minor=sum(get_net_discount(line, rate) for line in lines),
            tax_minor=sum(line.tax_minor for line in lines),
            inclusive_tax_minor=sum(line.inclusive_tax_minor for line in lines),
            lines=tuple(lines),
        )
        for (category, rate), lines in groups.items()
    ]
    return sorted(found, key=lambda group: (_ORDER.index(group.category), -(group.rate or 0)))


def differ(groups: Sequence[TaxGroup]) -> bool:
    """Whether the lines bear different taxes: other rates, other reasons for none, or inside here and on top there."""
    ways = {line.is_inclusive for group in groups for line in group.lines if line.tax_minor}
    return len(groups) > 1 or len(ways) > 1


def describe_line_taxes(
    content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]
) -> dict[str, str]:
    """`incl. 19% tax` or `plus 7% tax` by line id, where a document has taxes in prices and its lines differ."""
    groups = group_taxes(content) if content.has_inclusive_taxes else []
    if not differ(groups):
        return {}
    return {
        line.id: texts["line_tax_included" if line.is_inclusive else "line_tax_on_top"].format(
            rate=formatter.decimal(group.rate)
        )
        for group in groups
        if group.category == "S" and group.rate
        for line in group.lines
        if line.amount_minor
    }


def get_basis(line: ContentLine) -> int:
    """What a line's taxes are charged on: its amount less its discount, less the taxes inside of it."""
    return line.amount_minor - line.discount_minor - line.inclusive_tax_minor


def get_net_discount(line: ContentLine, rate: Decimal | None) -> int:
    """A line's discount without the tax inside of it. `rate` is that of its group, for a line without told rates.

    Stripe does not tell it: a discount is on the price as it is. Rounded half up once, for each line.
    """
    if not line.discount_minor or not line.is_inclusive:
        return line.discount_minor
    inside = [tax for tax in line.taxes if tax.inclusive]
    told = _add_rates(inside)
    if told is None and len(inside) == len(line.taxes):
        told = rate
    if told is None:
        basis = get_basis(line)
        return round_half_up(Decimal(line.discount_minor) * basis / (basis + line.inclusive_tax_minor))
    return round_half_up(line.discount_minor * _HUNDRED / (_HUNDRED + told))


def find_rates(content: InvoiceContent) -> dict[str, Decimal | None]:
    """The percentage of each line that bears tax, by line id: Stripe's, else the one that explains them all.

    Lines are explained together if they name the same tax rates, or none. A line too small for a cent of tax (a free
    tier) bears the document's rate like the others, unless Stripe says why it does not. None: there is tax, and no rate
    explains it.
    """
    taxed = [line for line in content.lines if line.tax_minor]
    told = {line.id: _add_rates(line.taxes) for line in content.lines}
    unknown: dict[str, list[ContentLine]] = {}
    for line in taxed:
        if told[line.id] is None:
            unknown.setdefault(_name_rates(line), []).append(line)
    inferred = {name: _infer_common_rate(lines) for name, lines in unknown.items()}
    found = {
        line.id: inferred[_name_rates(line)] if told[line.id] is None else told[line.id] for line in taxed
    }
    usual = max(taxed, key=lambda line: line.tax_minor, default=None)
    for line in content.lines:
        if line.tax_minor or any(tax.reason in _BY_REASON for tax in line.taxes):
            continue
        rate = told[line.id] or inferred.get(_name_rates(line)) or (found[usual.id] if usual else None)
        is_inclusive = line.is_inclusive or (not line.taxes and usual is not None and usual.is_inclusive)
        if rate and round_half_up(_compute_tax(get_basis(line), rate, is_inclusive=is_inclusive)) == 0:
            found[line.id] = rate
    return found


def _compute_tax(amount_minor: int, rate: Decimal, *, is_inclusive: bool) -> Decimal:
    return amount_minor * rate / (_HUNDRED + rate if is_inclusive else _HUNDRED)


def _name_rates(line: ContentLine) -> str:
    return " ".join(tax.rate for tax in line.taxes if tax.rate)


def _infer_common_rate(lines: Sequence[ContentLine]) -> Decimal | None:
    has_inclusive = any(line.is_inclusive for line in lines)
    return infer_rate(((get_basis(line), line.tax_minor) for line in lines), has_inclusive=has_inclusive)


def infer_rate(pairs: Iterable[tuple[int, int]], *, has_inclusive: bool = False) -> Decimal | None:
    """The percentage with the fewest places that explains every `(taxable, tax)`, to half a minor unit each.

    With taxes inside prices, what is taxed was rounded too: of a price, half a unit more of tax is half a unit less of
    the rest. None if there is none with up to three places, or nothing to tell it from.
    """
    known = [(Decimal(taxable), Decimal(tax)) for taxable, tax in pairs]
    basis = sum((taxable for taxable, _ in known), Decimal(0))
    if not basis:
        return None
    whole = sum((tax for _, tax in known), Decimal(0)) * 100 / basis
    for places in range(4):
        rate = whole.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
        slack = Decimal("0.5") * (1 + rate / 100 if has_inclusive else 1)
        if all(abs(taxable * rate / 100 - tax) <= slack for taxable, tax in known):
            return rate
    return None


def _add_rates(taxes: Sequence[LineTax]) -> Decimal | None:
    """The sum of the rates that Stripe tells of a line's taxes, None if it tells none or not all."""
    rates = [tax.percentage for tax in taxes]
    if not rates or None in rates:
        return None
    return sum((rate for rate in rates if rate is not None), Decimal(0))


def _choose_category(line: ContentLine, tax_exempt: str, *, has_tax: bool) -> Category:
    told = [_BY_REASON[tax.reason] for tax in line.taxes if tax.reason in _BY_REASON]
    category = told[0] if told else _BY_CUSTOMER.get(tax_exempt, "O")
    # EN 16931 knows no invoice that is partly outside the scope of VAT (BR-O-11).
    return "E" if category == "O" and has_tax else category
