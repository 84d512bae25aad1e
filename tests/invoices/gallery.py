"""The gallery in `docs/gallery/`: every variant as a picture, which the golden tests compare with.

`.venv/bin/python -m tests.invoices.gallery` makes it anew after a change that was meant; look at every picture then.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pypdfium2
from PIL import Image, ImageDraw

from invoices.content import InvoiceContent
from invoices.formatting import get_formatter

ROOT = Path(__file__).resolve().parent.parent.parent
GALLERY = ROOT / "docs" / "gallery"
DPI = 72
#: Between two pages of a picture, in dots.
GAP = 8
BETWEEN = "#9ca3af"


def rasterise(body: bytes, *, dpi: int = DPI, masked: Sequence[str] = ()) -> Image.Image:
    """A PDF as a picture, through PDFium: its first two pages and its last side by side, if it has as many.

    Every place that says one of `masked` is painted grey.
    """
    document = pypdfium2.PdfDocument(body)
    try:
        shown = sorted({0, min(1, len(document) - 1), len(document) - 1})
        pages = [_draw_page(document[number], dpi, masked) for number in shown]
    finally:
        document.close()
    if len(pages) == 1:
        return pages[0]
    sheet = Image.new("RGB", (sum(page.width + GAP for page in pages) - GAP, pages[0].height), BETWEEN)
    for number, page in enumerate(pages):
        sheet.paste(page, (number * (page.width + GAP), 0))
    return sheet


def _draw_page(page: Any, dpi: int, masked: Sequence[str]) -> Image.Image:
    scale, height = dpi / 72, page.get_height()
    image: Image.Image = page.render(scale=scale).to_pil().convert("RGB")
    draw = ImageDraw.Draw(image)
    for left, bottom, right, top in find_places(page, masked):
        corners = (
            left * scale - 2,
            (height - top) * scale - 2,
            right * scale + 2,
            (height - bottom) * scale + 2,
        )
        draw.rectangle(corners, fill="#9ca3af")
    return image


def find_places(page: Any, texts: Sequence[str]) -> list[tuple[float, float, float, float]]:
    """The rectangles of these texts on the page, in points from its lower left corner."""
    text_page = page.get_textpage()
    places = []
    for text in texts:
        search = text_page.search(text)
        while (found := search.get_next()) is not None:
            places += [text_page.get_rect(index) for index in range(text_page.count_rects(*found))]
    return places


def list_dates(content: InvoiceContent) -> list[str]:
    """The dates of a document as it prints them: they may change without a picture being wrong."""
    formatter = get_formatter(content.locale)
    moments = (content.issued_at, content.due_at, content.paid_at, content.voided_at)
    return sorted({formatter.date(moment) for moment in moments if moment})


def make_gallery() -> None:
    from invoices.rendering.pdf import render_pdf
    from tests.invoices.samples import VARIANTS

    GALLERY.mkdir(parents=True, exist_ok=True)
    for name, build in VARIANTS.items():
        image = rasterise(render_pdf(build()).body)
        image.quantize(128, kmeans=2).save(GALLERY / f"{name}.png", optimize=True)
        print(GALLERY / f"{name}.png")


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    make_gallery()
