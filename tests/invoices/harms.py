"""Harms to a good PDF that a validator must find: each takes one thing away that PDF/UA or PDF/A asks for."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

from pypdf import PdfWriter
from pypdf.generic import DictionaryObject, NameObject, NumberObject

from tests.support.verapdf import Standard


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


def find_element(writer: PdfWriter, kind: str) -> Any:
    root: Any = writer.root_object
    return next(element for element in walk(root["/StructTreeRoot"]) if element["/S"] == kind)


def change_nothing(writer: PdfWriter) -> None:
    """Written by pypdf as it was read: what the other harms are compared with."""


def take_language(writer: PdfWriter) -> None:
    del writer.root_object["/Lang"]


def take_tags(writer: PdfWriter) -> None:
    del writer.root_object["/StructTreeRoot"]


def take_words_of_a_picture(writer: PdfWriter) -> None:
    del find_element(writer, "/Figure")["/Alt"]


def take_words_of_a_link(writer: PdfWriter) -> None:
    pages: Any = writer.pages
    del pages[0]["/Annots"][0].get_object()["/Contents"]


def take_scope_of_a_header(writer: PdfWriter) -> None:
    for element in walk(writer.root_object["/StructTreeRoot"]):
        if element["/S"] == "/TH":
            del element["/A"]
            element.pop("/ID", None)
        elif element["/S"] == "/TD":
            element["/A"].pop("/Headers", None)


def put_a_table_in_a_table(writer: PdfWriter) -> None:
    find_element(writer, "/TBody")[NameObject("/S")] = NameObject("/Table")


def widen_a_cell(writer: PdfWriter) -> None:
    find_element(writer, "/TD")["/A"][NameObject("/ColSpan")] = NumberObject(2)


def take_a_font(writer: PdfWriter) -> None:
    pages: Any = writer.pages
    font = next(iter(pages[0]["/Resources"]["/Font"].values())).get_object()
    del font["/DescendantFonts"][0].get_object()["/FontDescriptor"].get_object()["/FontFile2"]


def hide_the_title(writer: PdfWriter) -> None:
    writer.root_object[NameObject("/ViewerPreferences")] = DictionaryObject()


def take_the_colour_profile(writer: PdfWriter) -> None:
    del writer.root_object["/OutputIntents"]


def take_the_relation_of_the_xml(writer: PdfWriter) -> None:
    root: Any = writer.root_object
    del root["/AF"][0].get_object()["/AFRelationship"]


def take_the_type_of_the_xml(writer: PdfWriter) -> None:
    root: Any = writer.root_object
    del root["/AF"][0].get_object()["/EF"]["/F"].get_object()["/Subtype"]


def take_the_xml_from_the_objects(writer: PdfWriter) -> None:
    del writer.root_object["/AF"]


def claim_no_archive(writer: PdfWriter) -> None:
    metadata: Any = writer.root_object["/Metadata"].get_object()
    metadata.set_data(metadata.get_data().replace(b'pdfaid:part="3"', b'pdfaid:part="4"'))


#: What is done to a good document -> the standard and its clause that veraPDF must name then.
HARMS: dict[Callable[[PdfWriter], None], tuple[Standard, str]] = {
    take_language: ("ua1", "7.2"),
    take_tags: ("ua1", "7.1"),
    take_words_of_a_picture: ("ua1", "7.3"),
    take_words_of_a_link: ("ua1", "7.18.5"),
    take_scope_of_a_header: ("ua1", "7.5"),
    put_a_table_in_a_table: ("ua1", "7.2"),
    widen_a_cell: ("ua1", "7.2"),
    take_a_font: ("ua1", "7.21.4.1"),
    hide_the_title: ("ua1", "7.1"),
    take_the_colour_profile: ("3a", "6.2.4.3"),
    take_the_relation_of_the_xml: ("3a", "6.8"),
    take_the_type_of_the_xml: ("3a", "6.8"),
    take_the_xml_from_the_objects: ("3a", "6.8"),
    claim_no_archive: ("3a", "6.6.4"),
}


def do_harm(body: bytes, harm: Callable[[PdfWriter], None]) -> bytes:
    writer = PdfWriter(clone_from=io.BytesIO(body))
    harm(writer)
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()
