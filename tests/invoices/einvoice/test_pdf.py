"""The PDF/A-3 that carries the XML, and that others stay as they are."""

from __future__ import annotations

import io
from typing import Any

import facturx
import pytest
from lxml import etree
from pypdf import PdfReader

from invoices.einvoice import build_xml
from invoices.rendering.pdf import render_pdf
from tests.invoices.samples import VARIANTS


@pytest.fixture(scope="module")
def body() -> bytes:
    return render_pdf(VARIANTS["eur-everything"]()).body


def iter_fonts(reader: PdfReader) -> Any:
    pages: Any = reader.pages
    for page in pages:
        for font in page["/Resources"]["/Font"].values():
            yield font.get_object()["/DescendantFonts"][0].get_object()["/FontDescriptor"].get_object()


def test_readers_find_the_xml(body):
    name, xml = facturx.get_xml_from_pdf(body, check_xsd=True)
    assert name == "factur-x.xml"
    assert xml == build_xml(VARIANTS["eur-everything"]())
    root = etree.fromstring(xml)
    assert (facturx.get_flavor(root), facturx.get_level(root)) == ("factur-x", "en16931")


def test_it_is_an_archive(body):
    """What PDF/A-3 asks for and pypdf can see: colours, fonts, metadata, attachment, no transparency."""
    reader = PdfReader(io.BytesIO(body))
    root: Any = reader.root_object
    assert root["/OutputIntents"][0]["/S"] == "/GTS_PDFA1"
    assert root["/OutputIntents"][0]["/DestOutputProfile"].get_object().get_data()[36:40] == b"acsp"
    (file,) = [entry.get_object() for entry in root["/AF"]]
    assert file["/AFRelationship"] == "/Alternative"
    assert file["/EF"]["/F"].get_object()["/Subtype"] == "/text/xml"
    assert root["/MarkInfo"]["/Marked"]
    assert all(any(key.startswith("/FontFile") for key in font) for font in iter_fonts(reader))
    pages: Any = reader.pages
    for page in pages:
        states = page["/Resources"].get("/ExtGState", {})
        for state in states.values():
            assert (state.get("/ca", 1), state.get("/CA", 1), state.get("/SMask", "/None")) == (1, 1, "/None")
    assert "/ID" in reader.trailer
    assert "/Encrypt" not in reader.trailer


def test_the_metadata_is_one_block_that_names_archive_access_and_invoice(body):
    catalog: Any = PdfReader(io.BytesIO(body)).root_object
    xmp = catalog["/Metadata"].get_object().get_data()
    assert xmp.count(b"<rdf:RDF") == 1
    root = etree.fromstring(xmp)
    values = {
        etree.QName(name).localname: value for node in root.iter() for name, value in node.attrib.items()
    }
    assert values["part"] in ("1", "3")
    assert b'pdfaid:part="3"' in xmp
    assert b'pdfaid:conformance="A"' in xmp
    assert b'pdfuaid:part="1"' in xmp
    texts = {etree.QName(node).localname: node.text for node in root.iter() if isinstance(node.tag, str)}
    assert (texts["ConformanceLevel"], texts["DocumentFileName"]) == ("EN 16931", "factur-x.xml")


def test_the_same_invoice_gives_the_same_bytes(body):
    assert render_pdf(VARIANTS["eur-everything"]()).body == body


def test_others_carry_nothing():
    reader = PdfReader(io.BytesIO(render_pdf(VARIANTS["eur-german"]()).body))
    assert "/AF" not in reader.root_object
    assert not reader.attachments
