"""One document printed with two versions of the template: what differs, in pictures and in words."""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import pypdfium2
from django.template import TemplateDoesNotExist, TemplateSyntaxError
from PIL import Image, ImageChops, ImageFilter

from billing_worker.core.errors import BillingError
from invoices.content import InvoiceContent
from invoices.rendering.pdf import render_pdf
from invoices.truth import PDFIUM, find_untruths, read_pages

DPI: Final = 96
#: All pages are compared; of a long document so many are shown: the first, the last, and those that differ most.
MAX_SHOWN: Final = 6
#: A channel that differs by less is the same: edges are smoothed differently by a hair.
LEVEL: Final = 24
#: Differing texts that are listed; the pictures show the rest.
MAX_TEXTS: Final = 40
_TINT: Final = (255, 232, 130)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one version made of the document. `error` says why there is no PDF."""

    version: str
    error: str = ""
    pages: int = 0
    bytes: int = 0
    untruths: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageDifference:
    """One page, from 0. `changed` is the share of its pixels that differ, 1 where a side lacks the page.

    Pages of the same number are held against each other: where lines move, every page after them differs.
    """

    page: int
    changed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Both sides. `pictures` holds PNG files by side (`base`, `other`) and page, of `pages`; `others` are not shown."""

    base: Side
    other: Side
    pages: list[PageDifference]
    others: list[PageDifference]
    texts_gone: list[str]
    texts_new: list[str]
    pictures: dict[tuple[str, int], bytes]

    def describe(self) -> dict[str, object]:
        """All but the pictures, JSON-ready."""
        return {name: value for name, value in asdict(self).items() if name != "pictures"}


def compare_versions(content: InvoiceContent, *, base: str, other: str) -> Comparison:
    """Print a document twice and compare. A version that cannot print it is an answer, not an error.

    Takes about twice the time of a render, 50 ms a page, and 200 ms for each that is shown. Touches no database and no
    storage.
    """
    printed = {"base": _print(content, base), "other": _print(content, other)}
    bodies = {name: body for name, (_, body) in printed.items()}
    with PDFIUM, _open(bodies["base"]) as left, _open(bodies["other"]) as right:
        differences = [_compare_page(left, right, page) for page in range(max(len(left), len(right)))]
        shown = _choose_shown(differences, {len(left) - 1, len(right) - 1})
        pictures = {key: png for page in shown for key, png in _draw_pictures(left, right, page).items()}
    gone, new = _compare_texts(printed["base"][1], printed["other"][1])
    return Comparison(
        base=printed["base"][0],
        other=printed["other"][0],
        pages=[one for one in differences if one.page in shown],
        others=[one for one in differences if one.page not in shown],
        texts_gone=gone,
        texts_new=new,
        pictures=pictures,
    )


def _print(content: InvoiceContent, version: str) -> tuple[Side, bytes]:
    try:
        pdf = render_pdf(content, version=version)
    except (BillingError, TemplateSyntaxError, TemplateDoesNotExist) as error:
        return Side(version=version, error=f"{type(error).__name__}: {error}"[:500]), b""
    untruths = find_untruths(content, pdf.body)
    return Side(version=version, pages=pdf.pages, bytes=len(pdf.body), untruths=untruths), pdf.body


@contextmanager
def _open(body: bytes) -> Iterator[Sequence[Any]]:
    """The pages of a PDF, none if there is no PDF. PDFium is not safe in threads: hold its lock."""
    if not body:
        yield []
        return
    document = pypdfium2.PdfDocument(body)
    try:
        yield document
    finally:
        document.close()


def _draw(pages: Sequence[Any], number: int) -> Image.Image | None:
    if number >= len(pages):
        return None
    page = pages[number]
    try:
        image: Image.Image = page.render(scale=DPI / 72).to_pil().convert("RGB")
        return image
    finally:
        page.close()


def _compare_page(left: Sequence[Any], right: Sequence[Any], number: int) -> PageDifference:
    one, two = _draw(left, number), _draw(right, number)
    changed = 1.0 if one is None or two is None else _find_share(_find_differing(one, two))
    return PageDifference(page=number, changed=round(changed, 5))


def _choose_shown(differences: Sequence[PageDifference], last: set[int]) -> set[int]:
    """The first page, the last of each side, and those that differ most, the earliest of equals."""
    shown = {0} | {page for page in last if page >= 0}
    for one in sorted(differences, key=lambda one: (-one.changed, one.page)):
        if len(shown) < MAX_SHOWN:
            shown.add(one.page)
    return shown


def _draw_pictures(left: Sequence[Any], right: Sequence[Any], number: int) -> dict[tuple[str, int], bytes]:
    """Both sides of a page as PNG files; what differs is tinted on the right."""
    one, two = _draw(left, number), _draw(right, number)
    if one is not None and two is not None:
        two = _mark(one, two)
    return {(name, number): _encode(image) for name, image in (("base", one), ("other", two)) if image}


def _find_differing(left: Image.Image, right: Image.Image) -> Image.Image:
    """White where two pictures differ, black where they are the same."""
    size = (max(left.width, right.width), max(left.height, right.height))
    channels = ImageChops.difference(_fit(left, size), _fit(right, size)).split()
    strongest = ImageChops.lighter(ImageChops.lighter(channels[0], channels[1]), channels[2])
    return strongest.point(lambda level: 255 if level >= LEVEL else 0)


def _find_share(differs: Image.Image) -> float:
    return differs.histogram()[255] / (differs.width * differs.height)


def _mark(left: Image.Image, right: Image.Image) -> Image.Image:
    """The right picture with the surroundings of what differs tinted."""
    differs = _find_differing(left, right)
    if differs.getbbox() is None:
        return right
    page = _fit(right, differs.size)
    around = differs.filter(ImageFilter.MaxFilter(9))
    tinted = ImageChops.multiply(page, Image.new("RGB", page.size, _TINT))
    return Image.composite(tinted, page, around)


def _fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.size == size:
        return image
    page = Image.new("RGB", size, "white")
    page.paste(image)
    return page


def _encode(image: Image.Image) -> bytes:
    target = io.BytesIO()
    image.quantize(96).save(target, "PNG", optimize=True)
    return target.getvalue()


def _compare_texts(base: bytes, other: bytes) -> tuple[list[str], list[str]]:
    """Lines of text that only one of the two has, in reading order, each list cut at 40."""
    if not base or not other:
        return [], []
    before, after = (_list_lines(body) for body in (base, other))
    gone: list[str] = []
    new: list[str] = []
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for _, first, last, first_new, last_new in matcher.get_opcodes():
        if before[first:last] != after[first_new:last_new]:
            gone += before[first:last]
            new += after[first_new:last_new]
    return gone[:MAX_TEXTS], new[:MAX_TEXTS]


def _list_lines(body: bytes) -> list[str]:
    return [line for page in read_pages(body) for line in re.split(r"\s*[\r\n]+\s*", page.strip()) if line]
