"""Every variant against PDF/UA-1, and against PDF/A-3 where it carries XML: by veraPDF, and read ourselves."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from pypdf import PdfReader

from invoices.content import InvoiceContent
from invoices.einvoice import carries_xml
from invoices.rendering.pdf import render_pdf
from invoices.rendering.versions import list_versions
from tests.invoices.gallery import rasterise
from tests.invoices.harms import HARMS, change_nothing, do_harm, walk
from tests.invoices.samples import BUYER, VARIANTS, build_content, build_line
from tests.support.verapdf import Standard, Verdict, validate

#: ISO 32000-1, 14.8.4: the standard structure types that WeasyPrint uses for our templates.
KNOWN_TYPES = frozenset(
    "Document Div P H1 H2 Span Link Figure Table THead TBody TR TH TD Lbl NonStruct Artifact".split()
)
#: What a document with XML inside is; PDF/A-3a has every rule of 3b and nine more.
ARCHIVE: tuple[Standard, ...] = ("3a", "ua1")


@pytest.fixture(scope="module")
def bodies() -> dict[str, bytes]:
    """Variant -> its PDF."""
    return {variant: render_pdf(build()).body for variant, build in VARIANTS.items()}


def build_named(name: str) -> InvoiceContent:
    """A short invoice with XML inside that prints a customer's text in every place that it can have."""
    buyer = BUYER.model_copy(update={"name": name, "address": (name,)})
    lines = [build_line("managed", 120000, description=name, account_name=name)]
    return build_content(lines, buyer=buyer, invoice_format="facturx")


#: Documents beside the gallery's: languages and scripts, and every kind that can carry XML with it.
FURTHER: dict[str, Callable[[], InvoiceContent]] = {
    "french": lambda: VARIANTS["paid"]().model_copy(update={"locale": "fr_FR", "page_size": "A4"}),
    "spanish": lambda: VARIANTS["child-accounts"]().model_copy(update={"locale": "es_ES"}),
    "korean": lambda: build_named("서울미디어 주식회사"),
    "chinese": lambda: build_named("上海广告有限公司"),
    "unprintable": lambda: build_named("Rocket 🚀 \u202eﷺ \ue000 \u0e1a <b>&amp;"),
    **{
        f"{variant}-facturx": lambda variant=variant: VARIANTS[variant]().model_copy(  # type: ignore[misc]
            update={"invoice_format": "facturx"}
        )
        for variant in ("open", "paid", "jpy-japanese", "credit-note", "credit-note-japanese")
    },
}


@pytest.fixture(scope="module")
def verdicts(bodies: dict[str, bytes]) -> dict[str, dict[str, Verdict]]:
    """What veraPDF says of the gallery's documents, of further ones, and of a good one after each harm."""
    files: dict[str, tuple[bytes, tuple[Standard, ...]]] = {
        variant: (body, ARCHIVE if carries_xml(VARIANTS[variant]()) else ("ua1",))
        for variant, body in bodies.items()
    }
    for name, build in FURTHER.items():
        content = build()
        files[name] = (render_pdf(content).body, ARCHIVE if carries_xml(content) else ("ua1",))
    for version in list_versions():
        files[f"version {version}"] = (render_pdf(VARIANTS["open"](), version=version).body, ("ua1",))
    sound = render_pdf(build_named("Northwind")).body
    files["rewritten"] = (do_harm(sound, change_nothing), ("3b", *ARCHIVE))
    for harm, (standard, _) in HARMS.items():
        files[harm.__name__] = (do_harm(sound, harm), (standard,))
    return validate(files)


@pytest.mark.slow
def test_verapdf_finds_nothing_in_any_document(verdicts):
    good = {name: found for name, found in verdicts.items() if name not in {h.__name__ for h in HARMS}}
    assert len(good) == len(VARIANTS) + len(FURTHER) + len(list_versions()) + 1
    for name, found in good.items():
        for standard, verdict in found.items():
            assert verdict.compliant, f"{name}: {verdict}"
            # It was read as what it says it is, and looked at.
            assert verdict.declared == ({"ua1"} if "3a" not in found else {"3a", "ua1"}), (name, standard)
            assert verdict.checks > 1000, name


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_verapdf_refuses_a_harmed_document_and_names_the_clause(verdicts, harm):
    standard, clause = HARMS[harm]
    verdict = verdicts[harm.__name__][standard]
    assert not verdict.compliant
    assert clause in {failure.clause for failure in verdict.failures}, str(verdict)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_tagged_as_pdf_ua_asks(bodies, variant):
    content = VARIANTS[variant]()
    reader: Any = PdfReader(io.BytesIO(bodies[variant]))
    root = reader.root_object
    elements = list(walk(root["/StructTreeRoot"]))
    kinds = [str(element["/S"])[1:] for element in elements]

    # 5: the file says that it is PDF/UA-1. 7.1: a title that is shown, a language, everything marked.
    assert b'pdfuaid:part="1"' in root["/Metadata"].get_data()
    assert root["/Lang"] == content.locale[:2]
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert root["/MarkInfo"]["/Marked"]
    assert content.number in reader.metadata.title
    assert set(kinds) <= KNOWN_TYPES
    # 7.3: a figure has words. 7.4.2: one first heading, before the others.
    assert all(str(element.get("/Alt", "")) for element in elements if element["/S"] == "/Figure")
    assert kinds.count("H1") == 1
    assert kinds.index("H1") < kinds.index("H2")
    check_tables(elements)
    for page in reader.pages:
        # 7.18.3: tab order follows the structure. 7.18.5: a link has words of its own and a place in the tree.
        links = [link.get_object() for link in page.get("/Annots", [])]
        assert not links or page["/Tabs"] == "/S"
        assert all(link.get("/Contents") and "/StructParent" in link for link in links)
        # 7.21.4: every font is embedded.
        for font in page["/Resources"]["/Font"].values():
            (descendant,) = font.get_object()["/DescendantFonts"]
            assert "/FontFile2" in descendant.get_object()["/FontDescriptor"]


def check_tables(elements: list[Any]) -> None:
    """7.5: header cells say whether they head a row or a column, and rows of a table are as wide as each other."""
    for table in [element for element in elements if element["/S"] == "/Table"]:
        widths = set()
        for row in [element for element in walk(table) if element["/S"] == "/TR"]:
            cells = [cell for cell in walk(row) if cell["/S"] in ("/TH", "/TD")]
            widths.add(sum(get_span(cell) for cell in cells))
            assert all(cell["/A"]["/Scope"] in ("/Row", "/Column") for cell in cells if cell["/S"] == "/TH")
        assert len(widths) == 1, widths


def get_span(cell: Any) -> int:
    attributes = cell.get("/A", {})
    listed = attributes if isinstance(attributes, list) else [attributes]
    return max(int(item.get_object().get("/ColSpan", 1)) for item in listed)


def test_a_picture_is_where_its_tag_says(bodies):
    """What enlarges a page for a reader goes to the place that the tag tells: there a QR code is dark in good part."""
    reader: Any = PdfReader(io.BytesIO(bodies["open"]))
    page = reader.pages[0]
    (place,) = [
        element["/A"]["/BBox"]
        for element in walk(reader.root_object["/StructTreeRoot"])
        if element["/S"] == "/Figure" and element["/Alt"] == "Scan to pay"
    ]
    left, bottom, right, top = (float(corner) for corner in place)
    height = float(page.mediabox.height)
    picture = rasterise(bodies["open"]).crop(
        (round(left), round(height - top), round(right), round(height - bottom))
    )
    shades = picture.convert("L").histogram()
    assert 0.3 < sum(shades[:128]) / sum(shades) < 0.6
