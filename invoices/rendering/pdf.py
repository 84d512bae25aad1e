"""HTML to PDF with WeasyPrint: fast, because fonts and styles are parsed once; safe, because nothing foreign loads.

The same content gives the same bytes: dates come from the content, fonts from the project.
"""

from __future__ import annotations

import gc
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from string import Template
from typing import Any, Final

import pydyf
import segno
from django.template.loader import get_template
from weasyprint import CSS, HTML
from weasyprint.text.fonts import FontConfiguration
from weasyprint.urls import FatalURLFetchingError

from billing_worker.core.errors import BillingError
from billing_worker.env import BASE_DIR
from invoices.brand import get_brand
from invoices.content import InvoiceContent, PageSize
from invoices.layout import build_page
from invoices.rendering.assets import BASE_URL, AssetFetcher
from invoices.rendering.fonts import find_fonts

#: Rises when a template, a style, a font or a text changes what is printed. Documents remember theirs.
TEMPLATE_VERSION: Final = "1"
#: Tagged for screen readers. It costs 5 KB and no time that can be measured.
PDF_VARIANT: Final = "pdf/ua-1"
#: From so many lines on a document is laid out without the garbage collector.
LONG_DOCUMENT: Final = 100


class RenderFailed(BillingError):
    """WeasyPrint reported something that would show in the document. Nothing is stored; the log has its words."""

    code = "render_failed"


@dataclass(frozen=True, slots=True)
class RenderedPdf:
    """A finished file. The same content and template version give the same `body`."""

    body: bytes
    pages: int


@dataclass(frozen=True, slots=True)
class _Engine:
    fonts: FontConfiguration
    styles: dict[PageSize, list[CSS]]


def render_pdf(content: InvoiceContent) -> RenderedPdf:
    """Print a checked document. Takes about 80 ms for one page and 3 s for 1,500 lines; touches no database.

    Raises:
        RenderFailed: an asset, a font or a glyph was missing.
    """
    html = render_html(content)
    engine = _get_engine()
    fetcher = AssetFetcher()
    target = io.BytesIO()
    with _watch_warnings() as warnings, _without_gc(content):
        try:
            document = HTML(string=html, base_url=BASE_URL, url_fetcher=fetcher).render(
                stylesheets=engine.styles[content.page_size],
                font_config=engine.fonts,
                pdf_variant=PDF_VARIANT,
            )
            document.write_pdf(target, finisher=_scope_headers, pdf_variant=PDF_VARIANT)
        except FatalURLFetchingError as error:
            raise RenderFailed(f"the document may not load everything that it asks for: {error}") from error
    if fetcher.refused or warnings:
        raise RenderFailed(
            f"the document cannot be printed: {'; '.join([*fetcher.refused, *warnings])[:500]}"
        )
    return RenderedPdf(target.getvalue(), len(document.pages))


def render_html(content: InvoiceContent) -> str:
    """The document as WeasyPrint reads it; every text in it is escaped."""
    brand = get_brand()
    page = build_page(content)
    return get_template("invoices/pdf/invoice.html").render(
        {
            "page": page,
            "logo_url": f"{BASE_URL}assets/{brand.logo}",
            "qr_url": _draw_qr(page.pay_url) if page.pay_url else "",
            "remittance": brand.remittance,
        }
    )


def _scope_headers(document: Any, pdf: Any) -> None:
    """Say of each table header cell whether it heads its row or its column, which PDF/UA asks for.

    WeasyPrint writes no scope. A header cell beside data cells heads their row, one among its like heads its column.
    """
    elements = {
        element.reference: element
        for element in pdf.objects
        if isinstance(element, pydyf.Dictionary) and element.get("Type") == "/StructElem"
    }
    for row in [element for element in elements.values() if element["S"] == "/TR"]:
        cells = [elements[reference] for reference in row["K"] if reference in elements]
        headers = [cell for cell in cells if cell["S"] == "/TH"]
        scope = "/Column" if len(headers) == len(cells) else "/Row"
        for header in headers:
            header["A"] = pydyf.Dictionary({"O": "/Table", "Scope": scope})


def _draw_qr(url: str) -> str:
    """The pay link as a QR code, in a `data:` address. A fixed mask saves trying all eight; readers take any."""
    return str(segno.make_qr(url, error="m", mask=3).png_data_uri(scale=4, border=0))


@cache
def _get_engine() -> _Engine:
    brand = get_brand()
    fonts = FontConfiguration()
    families: list[str] = []
    rules: list[str] = []
    for font in find_fonts():
        name = f'"{font.family}"'
        families += [name] if name not in families else []
        rules.append(
            f"@font-face {{ font-family: {name}; font-weight: {font.weight};"
            f' src: url("{BASE_URL}{font.url_path}") }}'
        )
    sheet = Template(
        (BASE_DIR / "templates/invoices/pdf/invoice.css").read_text(encoding="utf-8")
    ).substitute(
        family=", ".join(families), accent=brand.accent, accent_soft=brand.accent_soft, ink=brand.ink
    )
    fetcher = AssetFetcher()

    def parse(text: str) -> CSS:
        return CSS(string=text, base_url=BASE_URL, url_fetcher=fetcher, font_config=fonts)

    shared = [parse("\n".join(rules)), parse(sheet)]
    sizes: tuple[PageSize, ...] = ("A4", "Letter")
    return _Engine(fonts, {size: [*shared, parse(f"@page {{ size: {size} }}")] for size in sizes})


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _watch_warnings() -> Iterator[list[str]]:
    """Collect WeasyPrint's warnings: a font that did not load or a missing glyph is an error on an invoice."""
    collector = _Collector()
    logger = logging.getLogger("weasyprint")
    logger.addHandler(collector)
    try:
        yield collector.messages
    finally:
        logger.removeHandler(collector)


@contextmanager
def _without_gc(content: InvoiceContent) -> Iterator[None]:
    """Hold the garbage collector while a long document is laid out: it costs a third of the time there.

    A short one gains nothing, and held collections let a worker grow by half over a hundred documents.
    """
    if len(content.lines) < LONG_DOCUMENT or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()
