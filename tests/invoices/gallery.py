"""The gallery in `docs/gallery/`: every variant as a picture, which the golden tests compare with.

`.venv/bin/python -m tests.invoices.gallery` makes it anew after a change that was meant; look at every picture then.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
GALLERY = ROOT / "docs" / "gallery"
DPI = 72


def rasterise(body: bytes, folder: Path, *, dpi: int = DPI) -> Image.Image:
    """The first page of a PDF as a picture, through Poppler."""
    source = folder / "page.pdf"
    source.write_bytes(body)
    subprocess.run(
        ["pdftoppm", "-r", str(dpi), "-png", "-f", "1", "-l", "1", "-singlefile", source, folder / "page"],
        check=True,
    )
    with Image.open(folder / "page.png") as image:
        return image.convert("RGB")


def make_gallery() -> None:
    from invoices.rendering.pdf import render_pdf
    from tests.invoices.samples import VARIANTS

    GALLERY.mkdir(parents=True, exist_ok=True)
    for name, build in VARIANTS.items():
        with tempfile.TemporaryDirectory() as folder:
            image = rasterise(render_pdf(build()).body, Path(folder))
        image.quantize(64).save(GALLERY / f"{name}.png", optimize=True)
        print(GALLERY / f"{name}.png")


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    make_gallery()
