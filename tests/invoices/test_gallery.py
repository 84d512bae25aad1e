"""Golden pictures: a document that looks different is a decision, not an accident."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageChops

from invoices.rendering.pdf import render_pdf
from tests.invoices.gallery import GALLERY, rasterise
from tests.invoices.samples import VARIANTS

#: Greatest mean difference of a pixel (0 to 255): other versions of Poppler smooth edges differently.
TOLERANCE = 0.7


def compute_difference(one: Image.Image, other: Image.Image) -> float:
    histogram = ImageChops.difference(one, other).convert("L").histogram()
    return sum(level * count for level, count in enumerate(histogram)) / (one.width * one.height)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_looks_as_in_the_gallery(variant: str, tmp_path: Path) -> None:
    image = rasterise(render_pdf(VARIANTS[variant]()).body, tmp_path)
    with Image.open(GALLERY / f"{variant}.png") as golden:
        assert image.size == golden.size
        assert compute_difference(image, golden.convert("RGB")) < TOLERANCE


def test_the_comparison_sees_another_document(tmp_path: Path) -> None:
    image = rasterise(render_pdf(VARIANTS["paid"]()).body, tmp_path)
    with Image.open(GALLERY / "void.png") as other:
        assert compute_difference(image, other.convert("RGB")) > TOLERANCE


def test_the_gallery_holds_every_variant_and_no_other() -> None:
    assert {path.stem for path in GALLERY.glob("*.png")} == set(VARIANTS)
