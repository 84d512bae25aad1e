"""What a screen reader needs, in every variant: the parts of PDF/UA-1 that can be read from the file's structure."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from pypdf import PdfReader

from invoices.rendering.pdf import render_pdf
from tests.invoices.samples import VARIANTS

#: ISO 32000-1, 14.8.4: the standard structure types that WeasyPrint uses for our templates.
KNOWN_TYPES = frozenset(
    "Document Div P H1 H2 Span Link Figure Table THead TBody TR TH TD Lbl NonStruct Artifact".split()
)


def walk(element: Any) -> Iterator[Any]:
    """Every structure element below one, in reading order."""
    element = element.get_object()
    if not hasattr(element, "get"):
        return
    if "/S" in element:
        yield element
    children = element.get("/K", [])
    for child in children if isinstance(children, list) else [children]:
        yield from walk(child)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_tagged_as_pdf_ua_asks(variant):
    content = VARIANTS[variant]()
    reader: Any = PdfReader(io.BytesIO(render_pdf(content).body))
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
