"""The PDF itself: what it says, that it is the same every time, and that nothing gets in or out."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import pytest
from pypdf import PdfReader

from invoices.content import Party
from invoices.rendering import assets, fonts, pdf
from invoices.rendering.assets import AssetFetcher, ForeignAsset
from invoices.rendering.pdf import RenderFailed, render_html, render_pdf
from invoices.rendering.qr import QrCode
from tests.invoices.samples import (
    BUYER,
    OCTOBER,
    VARIANTS,
    build_content,
    build_full,
    build_line,
    build_long,
)


def read_text(body: bytes) -> str:
    """The text of all pages on one line, with plain blanks."""
    text = "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(body)).pages)
    return " ".join(text.replace("\u00a0", " ").split())


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_renders_to_the_same_bytes_twice(variant):
    content = VARIANTS[variant]()
    first = render_pdf(content)
    assert first.body == render_pdf(content).body
    assert first.pages == len(PdfReader(io.BytesIO(first.body)).pages)


def test_an_open_invoice_says_what_stripe_says():
    text = read_text(render_pdf(build_content()).body)
    for expected in (
        "NWA-0007", "November 1, 2026", "Currency USD",
        "Northwind Advertising LLC", "$13,544.68", "Pay online", "Page 1 of 1",
        "First 1,000,000", "Free", "Next 4,000,000 (1,000,001 to 5,000,000)", "$1.25", "per 1,000",
        "Total ST impressions 7,345,678 $7,345.68", "Holiday campaign set-up and tagging",
    ):  # fmt: skip
        assert expected in text, expected
    assert "Paid" not in text


def test_a_first_invoice_leaves_out_the_meters_that_only_open():
    """Stripe's first invoice has a line per meter over no time at all; a reader has no use for it."""
    opening = build_line(
        "ST", 0, quantity=0, unit_amount_decimal=Decimal(0), period_start=OCTOBER, period_end=OCTOBER
    )
    fee = build_line("sub", unit_amount_decimal=Decimal(49900))
    text = read_text(render_pdf(build_content([fee, opening])).body)
    assert "$499.00" in text
    assert "ST impressions" not in text
    alone = read_text(render_pdf(build_content([opening])).body)
    assert "ST impressions" in alone, "an invoice is never printed without a line"


def test_twelve_lines_fit_one_page_of_letter_and_of_a4():
    content = VARIANTS["twelve-lines"]()
    assert len(content.lines) == 12
    for size in ("Letter", "A4"):
        assert render_pdf(content.model_copy(update={"page_size": size})).pages == 1


@pytest.mark.parametrize("locale", ["en_US", "de_DE", "fr_FR", "es_ES", "ja_JP"])
def test_twelve_lines_with_chart_tax_discount_and_bank_details_fit_one_page(locale):
    for size in ("Letter", "A4"):
        rendered = render_pdf(build_full(locale, size))
        assert rendered.pages == 1, size
        assert "Routing 000000000" in read_text(rendered.body)


def test_the_page_has_the_size_of_the_country():
    def size(variant: str) -> tuple[int, int]:
        box = PdfReader(io.BytesIO(render_pdf(VARIANTS[variant]()).body)).pages[0].mediabox
        return round(box.width), round(box.height)

    assert size("open") == (612, 792)
    assert size("eur-german") == (595, 842)


def test_german_money_and_dates():
    text = read_text(render_pdf(VARIANTS["eur-german"]()).body)
    for expected in (
        "Rechnung",
        "13.247,36 €",
        "1,155 €",
        "15. November 2026",
        "Seite 1 von 1",
        "Bankverbindung",
    ):
        assert expected in text, expected


def test_yen_have_no_decimals_and_names_are_not_boxes():
    text = read_text(render_pdf(VARIANTS["jpy-japanese"]()).body)
    assert "株式会社みなと広告" in text
    assert "773,518" in text
    assert ".00" not in text
    assert fonts.REPLACEMENT not in text


def test_stamps_and_sums_follow_the_status():
    paid = read_text(render_pdf(VARIANTS["paid"]()).body)
    assert "PAID" in paid
    assert "Amount due $0.00" in paid
    assert "Pay online" not in paid
    void = read_text(render_pdf(VARIANTS["void"]()).body)
    assert "VOID" in void
    assert "Please do not pay it" in void
    zero = read_text(render_pdf(VARIANTS["zero"]()).body)
    assert "PAID" not in zero
    assert "no amount to pay" in zero


def test_a_long_invoice_repeats_its_headers_on_every_page():
    rendered = render_pdf(build_long(120))
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(rendered.body)).pages]
    assert len(pages) > 3
    for number, text in enumerate(pages, start=1):
        assert f"Page {number} of {len(pages)}" in " ".join(text.split())
    assert all("Description" in text for text in pages[:-1])


def test_the_pay_link_points_to_stripes_page():
    page = PdfReader(io.BytesIO(render_pdf(build_content()).body)).pages[0]
    links = [note.get_object()["/A"]["/URI"] for note in page.annotations or []]
    assert links == [build_content().hosted_invoice_url]


def test_the_metadata_names_the_document_and_dates_it_by_its_content():
    info = PdfReader(io.BytesIO(render_pdf(build_content()).body)).metadata
    assert info is not None
    assert info.title == "Invoice NWA-0007"
    assert info.author == "Lumenade Media, Inc."
    assert str(info["/CreationDate"]) == "D:20261101010000Z"


HOSTILE = [
    '<script>alert(1)</script><img src="http://169.254.169.254/latest/meta-data/">',
    '"><link rel="stylesheet" href="file:///etc/passwd"><style>@import url(https://evil.example.com/x.css)</style>',
    "<iframe src='file:///etc/passwd'></iframe>{{ settings.SECRET_KEY }}{% debug %}",
    "url(http://127.0.0.1:9/) ; background: url(file:///etc/shadow)",
    "\u202egnp.ecilla\u202c \u2066bidi\u2069 \u200bzero\u200d width\ufeff",
    "A" * 10_000,
    "word " * 2_000,
    "emoji \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea and \u1f100 \u0e01\u0e33",
    "null \x00 bell \x07 newline \n tab \t vertical \x0b",
    "e\u0301\u0327\u0323" * 50,
    "\ud800 lone surrogate".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_stay_texts(text):
    from invoices.content import clean_text

    cleaned = clean_text(text)
    content = build_content(
        [build_line("managed", 100, description=cleaned, account_name=cleaned, account_id=7)],
        buyer=Party(name=cleaned or "x", address=(cleaned, cleaned), email=cleaned, tax_ids=(cleaned,)),
        number=cleaned[:60] or "x",
    )
    html = render_html(content)
    assert "<script" not in html
    assert "<iframe" not in html
    assert html.count("<img") == 2, "the logo and the QR code"
    assert html.count("<style") == 0
    assert not any(mark in html for mark in "\u202e\u2066\u200b\x00")
    assert render_pdf(content).pages <= 3


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/", "https://example.com/x.png", "file:///etc/passwd", "ftp://example.com/x",
        "https://assets.invalid/../manage.py", "https://assets.invalid/fonts/../../manage.py",
        "https://assets.invalid.evil.example/logo.svg", "//example.com/x", "/etc/passwd", "assets/logo.svg",
    ],
)  # fmt: skip
def test_nothing_but_our_own_assets_is_served(url):
    fetcher = AssetFetcher()
    with pytest.raises(ForeignAsset):
        fetcher.fetch(url)
    assert fetcher.refused == [url]


def test_our_own_assets_are_served():
    body = AssetFetcher().fetch(f"{assets.BASE_URL}assets/logo.svg").read()
    assert body.startswith(b"<svg")


def test_a_template_that_asks_for_more_fails_the_render(monkeypatch):
    html = render_html(build_content()).replace(
        "</body>", '<img src="http://127.0.0.1:9/x.png" alt="x"/></body>'
    )
    monkeypatch.setattr(
        pdf, "_fill_template", lambda content, version: (html, {pdf.QR_URL: QrCode("https://example.com")})
    )
    with pytest.raises(RenderFailed, match="may not load"):
        render_pdf(build_content())


def test_japanese_and_korean_have_a_bold_weight_of_their_own_and_all_fonts_are_subsets():
    content = build_content(buyer=BUYER.model_copy(update={"name": "東京髙島屋 서울광고 北京广告"}))
    body = render_pdf(content).body
    assert "東京髙島屋 서울광고 北京广告" in read_text(body)
    document: Any = PdfReader(io.BytesIO(body))
    used = {str(font["/BaseFont"]) for font in (ref.get_object() for ref in _list_fonts(document))}
    assert {name.partition("+")[2] for name in used} == {
        "Invoice-Sans", "Invoice-Sans-Semi-Bold", "Invoice-Japanese-Bold", "Invoice-Korean-Bold",
    }  # fmt: skip
    assert all(len(name.partition("+")[0]) == len("/PMSHYL") for name in used)
    assert len(body) < 100_000


def _list_fonts(document: Any) -> list[Any]:
    return [font for page in document.pages for font in page["/Resources"]["/Font"].values()]


def test_a_missing_glyph_is_shown_as_a_box_and_not_dropped():
    assert fonts.make_printable("Zoë \U0001f600 東京 Łódź") == f"Zoë {fonts.REPLACEMENT} 東京 Łódź"
    assert fonts.make_printable("flag\ufe0f") == "flag"


def test_large_amounts_have_room():
    content = build_content([build_line("sub", unit_amount_decimal=Decimal(99_999_999_999))])
    text = read_text(render_pdf(content).body)
    assert text.count("$999,999,999.99") >= 4


def test_the_buyers_name_is_printed_as_it_is():
    content = build_content(buyer=BUYER.model_copy(update={"name": "O’Brien & Söhne <Test> GmbH"}))
    assert "O’Brien & Söhne <Test> GmbH" in read_text(render_pdf(content).body)


def test_screen_readers_find_language_title_tags_and_table_headers():
    root: Any = PdfReader(io.BytesIO(render_pdf(VARIANTS["eur-german"]()).body)).root_object
    assert root["/Lang"] == "de"
    assert root["/MarkInfo"]["/Marked"]
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    scopes: list[str] = []
    figures: list[str] = []

    def walk(element) -> None:
        element = element.get_object()
        if not hasattr(element, "get"):
            return
        if element.get("/S") == "/TH":
            scopes.append(element["/A"]["/Scope"])
        if element.get("/S") == "/Figure":
            figures.append(str(element.get("/Alt")))
        children = element.get("/K", [])
        for child in children if isinstance(children, list) else [children]:
            walk(child)

    walk(root["/StructTreeRoot"])
    assert scopes.count("/Column") == 4
    assert scopes.count("/Row") == 9
    assert figures[:2] == ["Lumenade Media, Inc.", "Zum Bezahlen scannen"]
    assert [figure.split(",")[0] for figure in figures[2:]] == [
        "Balkendiagramm von 10.975.797 Impressionen pro Tag"
    ]


def test_taxes_are_shown_by_rate_with_what_they_are_charged_on():
    taxed = read_text(render_pdf(VARIANTS["eur-everything"]()).body)
    assert "Steuer 19 % auf 13.107,46 € 2.490,42 €" in taxed
    assert "Steuerschuldnerschaft des Leistungsempfängers 0,00 €" in read_text(
        render_pdf(VARIANTS["eur-reverse-charge"]()).body
    )
    assert "Tax $0.00" in read_text(render_pdf(VARIANTS["open"]()).body)
