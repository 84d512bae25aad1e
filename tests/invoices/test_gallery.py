"""Golden pictures: a document that looks different is a decision, not an accident."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageDraw

from invoices.rendering.pdf import render_pdf
from tests.invoices.gallery import GALLERY, list_dates, rasterise
from tests.invoices.samples import VARIANTS

#: Greatest mean difference of a pixel (0 to 255): other versions of PDFium smooth edges differently.
TOLERANCE = 0.7


def compute_difference(one: Image.Image, other: Image.Image) -> float:
    histogram = ImageChops.difference(one, other).convert("L").histogram()
    return sum(level * count for level, count in enumerate(histogram)) / (one.width * one.height)


def mask_like(golden: Image.Image, masked: Image.Image, unmasked: Image.Image) -> Image.Image:
    """The golden picture with grey where masking changed the new one: its dates stand in the same places."""
    changed = ImageChops.difference(masked, unmasked).convert("L").point(lambda level: 255 if level else 0)
    box = changed.getbbox()
    result = golden.copy()
    if box:
        result.paste(masked, mask=changed)
    return result


def compare(name: str, image: Image.Image, golden: Image.Image, folder: Path) -> float:
    """How much they differ; where it is too much, both and the difference lie side by side in `folder`."""
    difference = compute_difference(image, golden)
    if difference >= TOLERANCE:
        delta = ImageChops.invert(ImageChops.difference(image, golden).convert("L")).convert("RGB")
        sheet = Image.new("RGB", (image.width * 3 + 20, image.height + 16), "white")
        for column, (title, part) in enumerate([("gallery", golden), ("now", image), ("difference", delta)]):
            sheet.paste(part, (column * (image.width + 10), 16))
            ImageDraw.Draw(sheet).text((column * (image.width + 10) + 4, 2), title, fill="black")
        sheet.save(folder / f"{name}.png")
    return difference


def draw(variant: str, **changes) -> tuple[Image.Image, Image.Image]:
    content = VARIANTS[variant]().model_copy(update=changes)
    body = render_pdf(content).body
    return rasterise(body, masked=list_dates(content)), rasterise(body)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_looks_as_in_the_gallery(variant: str, tmp_path: Path) -> None:
    masked, plain = draw(variant)
    with Image.open(GALLERY / f"{variant}.png") as file:
        golden = mask_like(file.convert("RGB"), masked, plain)
    assert masked.size == golden.size
    difference = compare(variant, masked, golden, tmp_path)
    assert difference < TOLERANCE, f"see {tmp_path / variant}.png: gallery, now, difference"


def test_another_date_is_masked(tmp_path: Path) -> None:
    first, plain = draw("open")
    moved, _ = draw("open", issued_at=VARIANTS["open"]().issued_at + timedelta(days=7))
    assert first.getpixel((0, 0)) == (255, 255, 255)
    assert compute_difference(first, plain) > 0, "a mask was painted"
    assert compute_difference(first, moved) < TOLERANCE / 10


def test_the_comparison_sees_another_document_and_leaves_a_picture_of_the_difference(tmp_path: Path) -> None:
    image, _ = draw("paid")
    with Image.open(GALLERY / "void.png") as other:
        assert compare("paid", image, other.convert("RGB"), tmp_path) > TOLERANCE
    with Image.open(tmp_path / "paid.png") as sheet:
        assert sheet.width == image.width * 3 + 20


def test_the_gallery_holds_every_variant_and_no_other() -> None:
    assert {path.stem for path in GALLERY.glob("*.png")} == set(VARIANTS)
