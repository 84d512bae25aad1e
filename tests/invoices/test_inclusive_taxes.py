"""Taxes inside the prices: what is checked, printed and mailed. Amounts are worked out by hand beside each test."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from billing_worker.gateway import LineTax as StripeTax
from billing_worker.mirror.lines import describe_taxes
from invoices.checking import find_mismatches
from invoices.content import (
    InvoiceContent,
    LineTax,
    compute_content_hash,
    dump_content,
    load_content,
)
from invoices.layout import build_page
from invoices.messages import build_texts
from invoices.models import InvoicePayment
from invoices.papers.base import Sum
from invoices.receipts import build_receipt
from invoices.rendering.pdf import render_pdf
from invoices.taxes import find_rates, get_net_discount, group_taxes, infer_rate
from invoices.truth import collect_facts, find_untruths
from tests.invoices.factories import NOW, StripeInvoiceFactory
from tests.invoices.samples import (
    VARIANTS,
    build_content,
    build_job,
    build_line,
    build_tiers,
    charge_lines,
    include_taxes,
)

VAT = Decimal(19)


def told(content: InvoiceContent) -> list[tuple[str, str]]:
    """The sums as they are printed, with plain blanks."""
    return [
        (row.label.replace("\xa0", " "), row.amount.replace("\xa0", " ")) for row in build_page(content).sums
    ]


def include(amount_minor: int, discount: int = 0, percent: Decimal = VAT, **changes: Any) -> InvoiceContent:
    """One fee with its tax inside."""
    line = build_line("sub", unit_amount_decimal=Decimal(amount_minor))
    lines = include_taxes([line], percent=percent, discounts=[discount])
    return build_content(lines, **{"currency": "eur", **changes})


def test_the_total_is_the_price_and_the_tax_is_told_below_it():
    # 119.00 - 11.90 = 107.10, of which 17.10 is tax on 90.00.
    content = include(11900, 1190)
    assert (content.total_minor, content.total_excluding_tax_minor) == (10710, 9000)
    assert find_mismatches(content) == []
    assert told(content) == [
        ("Subtotal, tax included", "€119.00"),
        ("Discount", "-€11.90"),
        ("Total", "€107.10"),
        ("Includes tax 19% on €90.00", "€17.10"),
        ("Amount due", "€107.10"),
    ]
    assert build_page(content).taxes == []


@pytest.mark.parametrize(
    ("locale", "label", "subtotal"),
    [
        ("en_GB", "Includes tax 19% on €100.00", "Subtotal, tax included"),
        ("de_DE", "Inkl. MwSt. 19 % auf 100,00 €", "Zwischensumme inkl. MwSt."),
        ("fr_FR", "Dont TVA 19 % sur 100,00 €", "Sous-total TTC"),
        ("es_ES", "IVA incluido 19 % sobre 100,00 €", "Subtotal, IVA incluido"),
        ("ja_JP", "内税 19%（税抜対象額 €100.00）", "小計（税込）"),
    ],
)
def test_every_language_has_its_field_s_words(locale, label, subtotal):
    labels = [name for name, _ in told(include(11900, locale=locale))]
    assert (labels[0], labels[2]) == (subtotal, label)


def test_taxes_inside_and_on_top_are_kept_apart():
    # 119.00 holds 19.00; 3.50 comes on top of 50.00: 119.00 + 50.00 + 3.50 = 172.50.
    lines = include_taxes([build_line("sub", 11900)], percent=VAT)
    lines += charge_lines([build_job("A book", 5000, 9)], percent=Decimal(7))
    content = build_content(lines, currency="eur")
    assert (content.subtotal_minor, content.total_minor) == (16900, 17250)
    assert find_mismatches(content) == []
    assert told(content) == [
        ("Subtotal", "€169.00"),
        ("Plus tax 7% on €50.00", "€3.50"),
        ("Total", "€172.50"),
        ("Includes tax 19% on €100.00", "€19.00"),
        ("Amount due", "€172.50"),
    ]
    page = build_page(content)
    assert [(row.label, row.net, row.tax, row.gross) for row in page.taxes] == [
        ("19%", "€100.00", "€19.00", "€119.00"),
        ("7%", "€50.00", "€3.50", "€53.50"),
        ("Total", "€150.00", "€22.50", "€172.50"),
    ]
    assert [section.note for section in page.sections] == [
        "Nov 1 – 30, 2026 · incl. 19% tax",
        "plus 7% tax",
    ]


def test_the_table_names_what_bears_no_tax():
    reasons = ("zero_rated", "product_exempt", "reverse_charge")
    lines = include_taxes([build_line("sub", 11900)], percent=VAT)
    for reason in reasons:
        none = LineTax(amount_minor=0, taxable_minor=0, percentage=None, reason=reason)
        lines.append(build_line("managed", 1000, id=f"il_{reason}").model_copy(update={"taxes": (none,)}))
    page = build_page(build_content(lines))
    assert [(row.label, row.gross) for row in page.taxes] == [
        ("19%", "$119.00"),
        ("0%", "$10.00"),
        ("Exempt", "$10.00"),
        ("Reverse charge", "$10.00"),
        ("Total", "$149.00"),
    ]


def test_one_rate_both_ways_is_one_group_in_two_rows():
    # 1.19 holds 0.19; 0.19 comes on top of 1.00.
    lines = include_taxes([build_line("sub", 119)], percent=VAT)
    lines += charge_lines([build_job("Tag audit", 100, 9)], percent=VAT)
    content = build_content(lines)
    (group,) = group_taxes(content)
    assert (group.basis_minor, group.tax_minor, group.inclusive_tax_minor) == (200, 38, 19)
    assert [label for label, _ in told(content)][1:4:2] == [
        "Plus tax 19% on $1.00",
        "Includes tax 19% on $1.00",
    ]
    assert len(build_page(content).taxes) == 2


def test_a_mail_names_the_tax_in_the_total():
    facts = dict(build_texts(VARIANTS["eur-tax-included"]()).facts)
    assert facts["Dont TVA"].replace("\u202f", " ").replace("\xa0", " ") == "255,28 €"
    names = list(dict(build_texts(VARIANTS["eur-tax-mixed"]()).facts))
    assert names[2:6] == ["Gesamtbetrag", "Enthaltene MwSt.", "Offener Betrag", "Fällig am"]
    assert "Tax included" not in dict(build_texts(VARIANTS["open"]()).facts)
    note = dict(build_texts(VARIANTS["credit-note-tax-included"]()).facts)
    assert note["Dont TVA"].replace("\xa0", " ") == "18,52 €"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"inclusive_tax_minor": 1899}, "taxes in the prices of the lines = Stripe's"),
        ({"total_tax_minor": 2250}, "every tax of the lines = Stripe's"),
        ({"total_minor": 13800}, "lines with the taxes in their prices + tax on top - discounts = total"),
        ({"total_excluding_tax_minor": 11900}, "total - every tax = Stripe's total without tax"),
    ],
)
def test_every_sum_is_held_against_stripe_s(changes, rule):
    broken = include(11900).model_copy(update=changes)
    assert rule in [mismatch.rule for mismatch in find_mismatches(broken)]


def test_the_arithmetic_is_shown():
    broken = include(11900).model_copy(update={"total_minor": 13800, "total_excluding_tax_minor": None})
    message = find_mismatches(broken)[0].message
    assert "we add up 119.00 EUR, Stripe says 138.00 EUR, a difference of 19.00 EUR" in message


def test_a_document_that_does_not_say_its_tax_is_not_true():
    content = include(11900)
    body = render_pdf(content).body
    assert find_untruths(content, body) == []
    wrong = include(11900).lines[0].taxes[0].model_copy(update={"amount_minor": 1901})
    line = content.lines[0].model_copy(update={"taxes": (wrong,), "tax_minor": 1901})
    other = content.model_copy(
        update={"lines": (line,), "inclusive_tax_minor": 1901, "total_tax_minor": 1901}
    )
    assert [fact.value for fact in collect_facts(other) if fact.name == "tax in the prices"] == ["€19.01"]
    assert any("tax in the prices" in problem for problem in find_untruths(other, body))


#: Of the documents as they were hashed before taxes in prices were known.
KNOWN_HASHES = {
    "open": "a89dea8ae0a173fdb1e56b641937322377bd967f670fb981e5946dc4a15488fc",
    "eur-everything": "6ee8c3598401e58e485afab44f26b78965ef81023f8cda9ccf5b3f898d3c4dbc",
    "child-accounts": "7bf952a2fa8a98ea6fa8b6b1a5847d67d16828dbad4b6593b94369a480f7efd9",
    "credit-note-german": "cf110f3d1bb992a1a02acf910b71f1a669b809e92f9ffead163d496bc222f7e9",
    "receipt-german": "818168c7da7314cf585e43e89c05c32eb41384c525e0362aa4370fbedee4e1f2",
}


@pytest.mark.parametrize("variant", KNOWN_HASHES)
def test_documents_without_taxes_in_prices_keep_their_hash(variant):
    assert compute_content_hash(VARIANTS[variant]()) == KNOWN_HASHES[variant]


def test_taxes_in_prices_are_kept_with_the_content():
    content = VARIANTS["eur-tax-mixed"]()
    data = dump_content(content)
    assert load_content(data) == content
    assert ["inclusive" in line["taxes"][0] for line in data["lines"]] == [True, True, True, True, False]


def test_a_discount_is_without_the_tax_in_it():
    # 11.90 of a discount are 10.00 and 1.90 of tax; nearly all of the price off says as much.
    (line,) = include_taxes([build_line("sub", 11900)], percent=VAT, discounts=[1190])
    assert get_net_discount(line, None) == 1000
    (line,) = include_taxes([build_line("sub", 11900)], percent=VAT, discounts=[11899])
    assert get_net_discount(line, None) == 9999
    (line,) = include_taxes([build_line("sub", 11900)], percent=VAT, discounts=[1190], is_told=False)
    assert (get_net_discount(line, VAT), get_net_discount(line, None)) == (1000, 1000)


def test_rates_that_stripe_does_not_tell_are_found_for_each_of_its_tax_rates():
    content = VARIANTS["jpy-tax-included"]()
    assert find_rates(content) == {
        "il_sub": Decimal(10),
        "il_ST0": Decimal(10),
        "il_ST1": Decimal(10),
        "il_managed": Decimal(10),
        "il_paper": Decimal(8),
    }


def test_of_a_price_the_rest_was_rounded_too():
    # 0.99 with 21 % are 0.82 and 0.17; 0.03 with 19 % are 0.0252 and 0.0048, rounded to 0.03 and nothing.
    assert infer_rate([(82, 17)], has_inclusive=True) == Decimal(21)
    assert infer_rate([(3, 0), (10000, 1900)], has_inclusive=True) == VAT
    assert infer_rate([(3, 0), (10000, 1900)]) is None


def test_three_cents_with_tax_inside_are_taxed_like_the_rest():
    # 0.03 hold 0.0048 of tax, less than half a cent; on top it would be 0.0057, one cent.
    fee, *tiers = include_taxes(
        [build_line("sub", 11900), *build_tiers("ST", (30, "0.1"))], percent=VAT, is_told=False
    )
    assert tiers[0].tax_minor == 0
    (group,) = group_taxes(build_content([fee, *tiers]))
    assert (group.category, group.rate, len(group.lines)) == ("S", VAT, 2)


def test_without_a_rate_that_explains_it_the_sum_is_told_alone():
    odd = LineTax(amount_minor=4000, taxable_minor=7900, percentage=None, reason="", inclusive=True)
    even = odd.model_copy(update={"amount_minor": 1900, "taxable_minor": 10000})
    lines = [
        build_line("sub", 11900).model_copy(
            update={"tax_minor": tax.amount_minor, "taxes": (tax,), "id": str(n)}
        )
        for n, tax in enumerate((odd, even))
    ]
    content = build_content(lines, currency="eur")
    assert find_mismatches(content) == []
    assert ("Tax included", "€59.00") in told(content)
    assert build_page(content).taxes == []


def test_reverse_charge_on_a_price_with_tax_is_the_whole_price():
    # Stripe keeps the price and says why no tax is in it.
    none = LineTax(amount_minor=0, taxable_minor=0, percentage=None, reason="reverse_charge", inclusive=True)
    content = build_content([build_line("sub", 10000).model_copy(update={"taxes": (none,)})])
    (group,) = group_taxes(content)
    assert (group.category, group.basis_minor, group.tax_minor) == ("AE", 10000, 0)
    assert find_mismatches(content) == []
    assert ("Reverse charge: the recipient is liable for the VAT", "$0.00") in told(content)


def test_the_mirror_tells_more_of_taxes_only_beside_one_in_a_price():
    tax = StripeTax(
        amount_minor=19, taxable_minor=100, percentage=VAT, reason="", is_inclusive=True, rate="txr_1"
    )
    plain = {"amount_minor": 19, "taxable_minor": 100, "percentage": "19", "reason": ""}
    assert describe_taxes([tax], has_inclusive=False) == [plain]
    assert describe_taxes([tax], has_inclusive=True) == [{**plain, "inclusive": True, "rate": "txr_1"}]


@pytest.mark.django_db
@pytest.mark.parametrize(("inclusive", "told"), [(1900, 1900), (0, 0)])
def test_a_receipt_names_the_tax_in_its_invoice_s_total(inclusive, told):
    invoice = StripeInvoiceFactory.create(
        subtotal_minor=11900, total_tax_minor=1900, inclusive_tax_minor=inclusive
    )
    InvoicePayment.objects.create(
        invoice=invoice,
        stripe_payment_id="inpay_1",
        amount_minor=11900,
        currency="usd",
        paid_at=NOW,
    )
    content = build_receipt(invoice, "inpay_1")
    assert content.payment is not None
    assert content.payment.invoice_tax_minor == told
    assert [row for row in build_page(content).sums if row.label == "Tax included"] == (
        [Sum(label="Tax included", amount="$19.00")] if told else []
    )
    payment: Any = dump_content(content)["payment"]
    assert ("invoice_tax_minor" in payment) == bool(told)
