"""The invoice in the README: the printed page as a reader's browser shows it."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from invoices.rendering.pdf import render_pdf
from tests.invoices.gallery import rasterise
from tests.invoices.samples import VARIANTS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAGE = """<body style="margin:0;background:#e5e7eb;padding:28px">
<img alt="" style="display:block;width:824px;background:#fff;box-shadow:0 2px 14px #0003"
 src="data:image/png;base64,{}">
</body>"""


def test_picture_of_an_invoice_for_the_readme(browser: Browser, screenshot_folder: Path) -> None:
    buffer = io.BytesIO()
    rasterise(render_pdf(VARIANTS["twelve-lines"]()).body, dpi=200).save(buffer, format="PNG")
    page = browser.new_page(viewport={"width": 880, "height": 1000})
    try:
        page.set_content(PAGE.format(base64.b64encode(buffer.getvalue()).decode()))
        assert page.evaluate("document.querySelector('img').naturalWidth") == 1700, "Letter at 200 dpi"
        page.screenshot(path=screenshot_folder / "invoice.png", full_page=True)
    finally:
        page.close()
    assert (screenshot_folder / "invoice.png").stat().st_size > 10_000
