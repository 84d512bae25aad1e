"""The rules of EN 16931 that an invoice of ours could break, checked before its XML goes into a PDF.

Each is named as in the standard's own rule set (schematron), which tests run over the same invoices. What the XML
writer cannot get wrong (codes, formats, order) is left to those tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from invoices.einvoice.building import SEPA_TRANSFER, TRANSFER
from invoices.einvoice.model import EInvoice, ELine, ETax

CENT: Final = Decimal("0.01")
#: The rule set allows a tax to differ from basis times rate by less than this: sums of rounded lines do.
TAX_TOLERANCE: Final = Decimal(1)


def find_violations(invoice: EInvoice) -> list[str]:
    """Every broken rule with its arithmetic, as a person reads it; empty when the XML may be embedded."""
    found = [*_check_parties(invoice), *_check_totals(invoice), *_check_payment(invoice)]
    for line in invoice.lines:
        found += _check_line(line)
    for tax in invoice.taxes:
        found += _check_tax(invoice, tax)
    return found


def _check_parties(invoice: EInvoice) -> Iterator[str]:
    seller, buyer = invoice.seller, invoice.buyer
    if not invoice.number:
        yield "BR-02: the invoice has no number"
    if not invoice.lines:
        yield "BR-16: the invoice has no line"
    for rule, who, party in (("BR-09", "seller", seller), ("BR-11", "buyer", buyer)):
        if len(party.country) != 2:
            yield f"{rule}: the {who}'s address has no country"
    if not (seller.vat_id or seller.legal_id):
        yield "BR-CO-26: the seller has neither a VAT id nor a registration number (invoices/assets/brand.toml)"
    for who, vat_id in (("seller", seller.vat_id), ("buyer", buyer.vat_id)):
        if vat_id and not vat_id[:2].isalpha():
            yield f"BR-CO-09: the {who}'s VAT id {vat_id} does not begin with its country"


def _check_totals(invoice: EInvoice) -> Iterator[str]:
    lines = sum((line.net for line in invoice.lines), Decimal(0))
    allowances = sum((tax.allowance for tax in invoice.taxes), Decimal(0))
    taxes = sum((tax.amount for tax in invoice.taxes), Decimal(0))
    yield from _compare("BR-CO-10: sum of the lines", lines, invoice.line_total)
    yield from _compare("BR-CO-11: sum of the discounts", allowances, invoice.allowance_total)
    yield from _compare(
        "BR-CO-13: lines - discounts", invoice.line_total - invoice.allowance_total, invoice.basis_total
    )
    yield from _compare("BR-CO-14: sum of the taxes", taxes, invoice.tax_total)
    yield from _compare("BR-CO-15: net + taxes", invoice.basis_total + invoice.tax_total, invoice.grand_total)
    yield from _compare("BR-CO-16: total - paid", invoice.grand_total - invoice.prepaid, invoice.due_total)
    if invoice.due_total > 0 and not (invoice.due or invoice.terms):
        yield "BR-CO-25: something is due, and neither a date nor terms say when"


def _check_payment(invoice: EInvoice) -> Iterator[str]:
    bank = invoice.bank
    if invoice.means_code in (TRANSFER, SEPA_TRANSFER) and not (bank and (bank.iban or bank.number)):
        yield "BR-61: a transfer is asked for without an account to pay to (invoices/assets/brand.toml)"


def _check_line(line: ELine) -> Iterator[str]:
    if line.price < 0:
        yield f"BR-27: line {line.number} has a negative price"
    if line.end < line.start:
        yield f"BR-30: line {line.number} ends on {line.end}, before it starts"
    net = line.quantity * line.price / line.base
    places = Decimal(1).scaleb(int(line.net.as_tuple().exponent))
    yield from _compare(
        f"BT-131: line {line.number}: {line.quantity} x {line.price} / {line.base}",
        net.quantize(places, rounding=ROUND_HALF_UP),
        line.net,
    )


def _check_tax(invoice: EInvoice, tax: ETax) -> Iterator[str]:
    category = tax.category
    of_category = [line for line in invoice.lines if (line.category, line.rate) == (category, tax.rate)]
    basis = sum((line.net for line in of_category), Decimal(0)) - tax.allowance
    yield from _compare(f"BR-{category}-08: net of category {category}", basis, tax.basis)
    if category != "S" and tax.amount:
        yield f"BR-{category}-09: category {category} bears {tax.amount} of tax"
    if category == "S":
        yield from _check_standard(invoice, tax)
    if category == "AE" and not (
        (invoice.seller.vat_id or invoice.seller.tax_number) and invoice.buyer.vat_id
    ):
        yield "BR-AE-02: reverse charge needs a tax number of the seller and a VAT id of the buyer"
    if category in ("E", "Z") and not (invoice.seller.vat_id or invoice.seller.tax_number):
        yield f"BR-{category}-02: the seller has no tax number (invoices/assets/brand.toml)"


def _check_standard(invoice: EInvoice, tax: ETax) -> Iterator[str]:
    if not (invoice.seller.vat_id or invoice.seller.tax_number):
        yield "BR-S-02: tax is charged, and the seller has no tax number (invoices/assets/brand.toml)"
    if tax.rate is None:
        yield f"BR-S-05: no rate explains {tax.amount} of tax on {tax.basis}"
        return
    expected = (tax.basis * tax.rate / 100).quantize(CENT, rounding=ROUND_HALF_UP)
    if abs(expected - tax.amount) >= TAX_TOLERANCE:
        yield f"BR-CO-17: {tax.rate} % of {tax.basis} is {expected}, Stripe says {tax.amount}"


def _compare(rule: str, ours: Decimal, stated: Decimal) -> Iterator[str]:
    if ours != stated:
        yield f"{rule} is {ours}, the document says {stated}, a difference of {stated - ours}"
