"""HTML to PDF with WeasyPrint: fast, because fonts and styles are parsed once; safe, because nothing foreign loads.

The same content gives the same bytes: dates come from the content, fonts from the project.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from string import Template
from typing import Any, Final

from weasyprint import CSS
from weasyprint.text.fonts import FontConfiguration
from weasyprint.urls import FatalURLFetchingError

from billing_worker.core.errors import BillingError
from invoices.brand import get_brand
from invoices.content import InvoiceContent, PageSize
from invoices.einvoice import build_xml, carries_xml, embedding
from invoices.layout import build_page
from invoices.rendering import shortcuts
from invoices.rendering.assets import BASE_URL, AssetFetcher
from invoices.rendering.fonts import OWN_FONTS, find_fonts, is_own_text, list_families
from invoices.rendering.markup import Markup
from invoices.rendering.qr import QrCode
from invoices.rendering.tags import complete_tags
from invoices.rendering.versions import get_current_version, get_template_name, read_styles
from invoices.templating import fill_template
from invoices.usage_chart import draw_usage_chart

#: Tagged for screen readers. It costs 5 KB and no time that can be measured.
PDF_VARIANT: Final = "pdf/ua-1"
#: Where a document finds its QR code: nothing is served there, it is drawn.
QR_URL: Final = f"{BASE_URL}qr"


#: After a document of so many lines a worker gives memory back to the system.
LONG_DOCUMENT: Final = 500


class RenderFailed(BillingError):
    """WeasyPrint reported something that would show in the document. Nothing is stored; the log has its words."""

    code = "render_failed"


@dataclass(frozen=True, slots=True)
class RenderedPdf:
    """A finished file. The same content and template version give the same `body`."""

    body: bytes
    pages: int


def render_pdf(content: InvoiceContent, *, version: str | None = None) -> RenderedPdf:
    """Print a checked document with a version of the template, by default the one in force. Touches no database.

    Takes about 60 ms of a core for one page and 2 ms for each further line; one document at a time in a process.

    Raises:
        RenderFailed: an asset, a font or a glyph was missing.
        TemplateMissing: there is no such version.
    """
    version = version or get_current_version()
    with shortcuts.taken(), _without_gc():
        rendered = _print(content, version)
    if len(content.lines) >= LONG_DOCUMENT:
        _give_memory_back()
    return rendered


def _print(content: InvoiceContent, version: str) -> RenderedPdf:
    """Lay out, draw and write. When it returns all that is left of the document is its bytes."""
    html, pictures = _fill_template(content, version)
    xml = build_xml(content) if carries_xml(content) else None
    variant = PDF_VARIANT if xml is None else embedding.PDF_VARIANT
    fonts = _load_fonts(not is_own_text(html))
    fetcher = AssetFetcher()
    target = io.BytesIO()
    with _watch_warnings() as warnings:
        try:
            document = Markup(html, fetcher).render(
                stylesheets=_load_styles(version, content.page_size, fonts),
                font_config=fonts.config,
                pdf_variant=variant,
                cache=pictures,
            )
            if xml is not None:
                attachment = embedding.make_attachment(xml, issued_at=content.issued_at)
                document.metadata.attachments.append(attachment)
            finisher = complete_tags if xml is None else _finish_facturx
            document.write_pdf(target, finisher=finisher, pdf_variant=variant)
        except FatalURLFetchingError as error:
            raise RenderFailed(f"the document may not load everything that it asks for: {error}") from error
    if fetcher.refused or warnings:
        raise RenderFailed(
            f"the document cannot be printed: {'; '.join([*fetcher.refused, *warnings])[:500]}"
        )
    return RenderedPdf(target.getvalue(), len(document.pages))


def render_html(content: InvoiceContent, *, version: str | None = None) -> str:
    """The document as WeasyPrint reads it: well-formed XHTML, every text in it escaped."""
    return _fill_template(content, version or get_current_version())[0]


def _fill_template(content: InvoiceContent, version: str) -> tuple[str, dict[str, Any]]:
    """The markup, and the pictures in it that are drawn and not loaded, by their addresses."""
    brand = get_brand()
    page = build_page(content)
    chart = page.chart and draw_usage_chart(
        page.chart, accent=brand.accent, ink="#4b5563", families=list_families()
    )
    html = fill_template(
        get_template_name(version),
        {
            "page": page,
            "logo_url": f"{BASE_URL}assets/{brand.logo}",
            "qr_url": QR_URL if page.pay_url else "",
            "chart_url": chart or "",
            "remittance": brand.remittance,
        },
    )
    return html, {QR_URL: QrCode(page.pay_url)} if page.pay_url else {}


def _finish_facturx(document: Any, pdf: Any) -> None:
    complete_tags(document, pdf)
    embedding.finish_pdf(pdf)


@dataclass(frozen=True, slots=True)
class _Fonts:
    """A font configuration with its `@font-face` rules parsed, and the families that they declare."""

    config: FontConfiguration
    faces: CSS
    families: str

    def __hash__(self) -> int:
        return id(self)


@cache
def _load_fonts(with_system: bool) -> _Fonts:
    """The project's own fonts, or those and the system's: the big ones are loaded by documents that need them."""
    config = FontConfiguration()
    # Left to itself it removes its temporary folder too late at the end of a process: nothing can be imported by then.
    atexit.register(config.__del__)
    families: list[str] = []
    rules: list[str] = []
    for font in find_fonts() if with_system else OWN_FONTS:
        name = f'"{font.family}"'
        families += [name] if name not in families else []
        rules.append(
            f"@font-face {{ font-family: {name}; font-weight: {font.weight};"
            f' src: url("{BASE_URL}{font.url_path}") }}'
        )
    return _Fonts(config, _parse("\n".join(rules), config), ", ".join(families))


@cache
def _load_styles(version: str, size: PageSize, fonts: _Fonts) -> list[CSS]:
    """A version's styles, parsed once a process. What is alive by then stays: the collector need not look at it."""
    brand = get_brand()
    sheet = Template(read_styles(version)).substitute(
        family=fonts.families, accent=brand.accent, accent_soft=brand.accent_soft, ink=brand.ink
    )
    parsed = _parse(f"{sheet}\n@page {{ size: {size} }}", fonts.config)
    gc.freeze()
    return [fonts.faces, parsed]


def _parse(text: str, config: FontConfiguration) -> CSS:
    return CSS(string=text, base_url=BASE_URL, url_fetcher=AssetFetcher(), font_config=config)


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
def _without_gc() -> Iterator[None]:
    """Hold the garbage collector while a document is laid out and drawn, then collect what it left in cycles.

    It costs a third of the time of a long document. Collecting after each one is as cheap as leaving the collector on,
    and keeps the memory of a worker 15 MB lower: what lives through a collection would wait for a rare full one.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect(1)


def _give_memory_back() -> None:
    """Return what a long document took, if this C library can: it keeps freed memory for the next such document."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
