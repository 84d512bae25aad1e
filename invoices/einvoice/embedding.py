"""The XML inside the PDF: as its alternative, and announced in the metadata as Factur-X asks for.

WeasyPrint's own `xmp_metadata` adds a second RDF block, which validators ignore: ours is written into the first.
"""

from __future__ import annotations

from datetime import datetime
from string import Template
from typing import Any, Final

import pydyf
from weasyprint import Attachment

#: The name that readers look for; ZUGFeRD and Factur-X prescribe it.
FILE_NAME: Final = "factur-x.xml"
#: Tagged like our other documents, with the colour profile and the fonts inside that archives ask for.
PDF_VARIANT: Final = "pdf/a-3a"

_FACTURX: Final = "urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#"
_PDFUA: Final = "http://www.aiim.org/pdfua/ns/id/"
_PROPERTY: Final = Template(
    '<rdf:li rdf:parseType="Resource"><pdfaProperty:name>$name</pdfaProperty:name>'
    "<pdfaProperty:valueType>$type</pdfaProperty:valueType><pdfaProperty:category>$category</pdfaProperty:category>"
    "<pdfaProperty:description>$description</pdfaProperty:description></rdf:li>"
)
_SCHEMA: Final = Template(
    '<rdf:li rdf:parseType="Resource"><pdfaSchema:schema>$title</pdfaSchema:schema>'
    "<pdfaSchema:namespaceURI>$uri</pdfaSchema:namespaceURI><pdfaSchema:prefix>$prefix</pdfaSchema:prefix>"
    "<pdfaSchema:property><rdf:Seq>$properties</rdf:Seq></pdfaSchema:property></rdf:li>"
)


def make_attachment(xml: bytes, *, issued_at: datetime) -> Attachment:
    """The XML as an attachment; dated by the document, so that the same document gives the same bytes."""
    return Attachment(
        string=xml.decode(),
        name=FILE_NAME,
        description="Factur-X / ZUGFeRD invoice (EN 16931)",
        created=issued_at,
        modified=issued_at,
        relationship="Alternative",
    )


def finish_pdf(pdf: Any) -> None:
    """Announce the XML in the metadata, and say `text/xml` of it, which Factur-X prescribes."""
    metadata = _get(pdf, pdf.catalog["Metadata"])
    metadata.stream = [
        part.replace(b"</rdf:RDF>", _build_xmp() + b"</rdf:RDF>", 1) for part in metadata.stream
    ]
    # WeasyPrint lists the file twice: among the document's names and among its objects.
    files = list(dict.fromkeys(_text(file) for file in pdf.catalog["AF"]))
    pdf.catalog["AF"] = pydyf.Array(files)
    for file in files:
        _get(pdf, _get(pdf, file)["EF"]["F"]).extra["Subtype"] = "/text#2fxml"


def _get(pdf: Any, reference: Any) -> Any:
    return pdf.objects[int(_text(reference).split()[0])]


def _text(reference: Any) -> str:
    return reference.decode() if isinstance(reference, bytes) else str(reference)


def _build_xmp() -> bytes:
    facturx = {
        "DocumentFileName": (FILE_NAME, "The name of the embedded XML document"),
        "DocumentType": ("INVOICE", "The type of the hybrid document"),
        "Version": ("1.0", "The version of the XML schema"),
        "ConformanceLevel": ("EN 16931", "The profile of the embedded data"),
    }
    values = "".join(f"<fx:{name}>{value}</fx:{name}>" for name, (value, _) in facturx.items())
    schemas = _describe(
        "Factur-X PDFA Extension Schema",
        _FACTURX,
        "fx",
        [(name, "Text", "external", text) for name, (_, text) in facturx.items()],
    ) + _describe(
        "PDF/UA Universal Accessibility Schema",
        _PDFUA,
        "pdfuaid",
        [("part", "Integer", "internal", "The part of ISO 14289 that the document follows")],
    )
    return (
        f'<rdf:Description rdf:about="" xmlns:fx="{_FACTURX}">{values}</rdf:Description>'
        f'<rdf:Description rdf:about="" xmlns:pdfuaid="{_PDFUA}" pdfuaid:part="1"/>'
        '<rdf:Description rdf:about="" xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/"'
        ' xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#"'
        ' xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">'
        f"<pdfaExtension:schemas><rdf:Bag>{schemas}</rdf:Bag></pdfaExtension:schemas></rdf:Description>"
    ).encode()


def _describe(title: str, uri: str, prefix: str, properties: list[tuple[str, str, str, str]]) -> str:
    listed = "".join(
        _PROPERTY.substitute(name=name, type=kind, category=category, description=text)
        for name, kind, category, text in properties
    )
    return _SCHEMA.substitute(title=title, uri=uri, prefix=prefix, properties=listed)
