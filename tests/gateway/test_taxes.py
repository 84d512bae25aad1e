"""Taxes of invoice lines, with the rates that Stripe embeds in the invoice."""

from __future__ import annotations

from decimal import Decimal

from billing_worker.gateway import parse_invoice
from tests.mirror.samples import make_invoice, make_line


def test_a_line_s_tax_knows_the_rate_that_its_invoice_embeds():
    def tax(rate: str, amount: int) -> dict[str, object]:
        return {
            "amount": amount,
            "taxable_amount": 10000,
            "tax_behavior": "exclusive",
            "tax_rate_details": {"tax_rate": rate},
            "taxability_reason": "standard_rated",
        }

    lines = [make_line(taxes=[tax("txr_told", 1900), tax("txr_other", 50)])]
    payload = make_invoice(lines=lines, default_tax_rates=[{"id": "txr_told", "percentage": 19.0}])
    told, other = parse_invoice({**payload, "customer_tax_exempt": "reverse"}).lines[0].taxes
    assert (told.amount_minor, told.taxable_minor, told.percentage, told.reason) == (
        1900,
        10000,
        Decimal("19.0"),
        "standard_rated",
    )
    assert other.percentage is None
    assert parse_invoice({**payload, "customer_tax_exempt": "reverse"}).customer_tax_exempt == "reverse"
    assert parse_invoice(payload).customer_tax_exempt == "none"


def test_taxes_in_prices_are_told_apart():
    def tax(rate: str, amount: int, behavior: str) -> dict[str, object]:
        return {
            "amount": amount,
            "taxable_amount": 10000,
            "tax_behavior": behavior,
            "tax_rate_details": {"tax_rate": rate},
            "taxability_reason": "not_available",
        }

    inside, on_top = tax("txr_in", 1900, "inclusive"), tax("txr_on", 700, "exclusive")
    lines = [
        make_line(id="il_in", amount=11900, taxes=[inside]),
        make_line(id="il_on", amount=10000, taxes=[on_top]),
    ]
    payload = {**make_invoice(lines=lines), "total_taxes": [inside, on_top], "total_excluding_tax": 20000}
    invoice = parse_invoice(payload)
    assert (invoice.total_tax_minor, invoice.inclusive_tax_minor) == (2600, 1900)
    assert invoice.total_excluding_tax_minor == 20000
    assert [(line.tax_minor, line.inclusive_tax_minor) for line in invoice.lines] == [(1900, 1900), (700, 0)]
    assert [(tax.is_inclusive, tax.rate) for line in invoice.lines for tax in line.taxes] == [
        (True, "txr_in"),
        (False, "txr_on"),
    ]
    assert parse_invoice(make_invoice()).total_excluding_tax_minor is None
