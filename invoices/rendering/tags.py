"""What PDF/UA asks of the tags and WeasyPrint leaves out or gets wrong."""

from __future__ import annotations

from typing import Any, Final

import pydyf

#: PDF's points in one of CSS's pixels.
POINTS: Final = 0.75


def complete_tags(document: Any, pdf: Any) -> None:
    """Finish the structure tree of a document that is about to be written."""
    elements = {
        element.reference: element
        for element in pdf.objects
        if isinstance(element, pydyf.Dictionary) and element.get("Type") == "/StructElem"
    }
    heights = dict(zip(pdf.page_references, (page.height for page in document.pages), strict=True))
    for element in elements.values():
        if element["S"] == "/TR":
            _scope_headers([elements[reference] for reference in element["K"] if reference in elements])
        elif element["S"] == "/Figure":
            _turn_over(element["A"], heights[element["Pg"]])


def _scope_headers(cells: list[Any]) -> None:
    """Say of each table header cell of a row whether it heads the row or its column.

    WeasyPrint writes no scope. A header cell beside data cells heads their row, one among its like heads its column.
    """
    headers = [cell for cell in cells if cell["S"] == "/TH"]
    scope = "/Column" if len(headers) == len(cells) else "/Row"
    for header in headers:
        header["A"] = pydyf.Dictionary({"O": "/Table", "Scope": scope})


def _turn_over(layout: Any, page_height: float) -> None:
    """Tell a picture's place in points from the page's lower left: WeasyPrint tells pixels from its upper left."""
    left, top, right, bottom = layout["BBox"]
    corners = (left, page_height - bottom, right, page_height - top)
    layout["BBox"] = pydyf.Array([corner * POINTS for corner in corners])
