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


def rasterise(body: bytes, *, dpi: int = DPI, masked: Sequence[str] = ()) -> Image.Image:
    """The first page of a PDF as a picture, through PDFium; every place that says one of `masked` is painted grey."""
    document = pypdfium2.PdfDocument(body)
    try:
        page = document[0]
        image: Image.Image = page.render(scale=dpi / 72).to_pil().convert("RGB")
        draw = ImageDraw.Draw(image)
        for left, bottom, right, top in find_places(page, masked):
            scale, height = dpi / 72, page.get_height()
            draw.rectangle(
                (
                    left * scale - 2,
                    (height - top) * scale - 2,
                    right * scale + 2,
                    (height - bottom) * scale + 2,
                ),
                fill="#9ca3af",
            )
        return image
    finally:
        document.close()


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
        image.quantize(64).save(GALLERY / f"{name}.png", optimize=True)
        print(GALLERY / f"{name}.png")


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    make_gallery()
