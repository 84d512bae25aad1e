"""The invoice as a machine reads it: Factur-X / ZUGFeRD, profile EN 16931, as XML inside a PDF/A-3."""

from __future__ import annotations

from datetime import UTC

from invoices.content import InvoiceContent
from invoices.einvoice.building import build_einvoice
from invoices.einvoice.checking import find_violations
from invoices.einvoice.cii import write_cii
from invoices.einvoice.model import EInvoice

__all__ = ["build_einvoice", "build_xml", "carries_xml", "find_einvoice_problems"]


def carries_xml(content: InvoiceContent) -> bool:
    """Whether the document gets its XML: asked for, and an invoice or a credit note that stands.

    A receipt is no invoice, and a void one must not be booked by a machine.
    """
    is_kind = content.document_kind in ("invoice", "credit_note")
    return content.invoice_format == "facturx" and is_kind and content.status != "void"


def build_xml(content: InvoiceContent) -> bytes:
    """The CII XML of a document that `find_einvoice_problems` let pass. The same content gives the same bytes."""
    return write_cii(_build(content))


def find_einvoice_problems(content: InvoiceContent) -> list[str]:
    """Every rule of EN 16931 that the document's XML would break, one line each; empty without XML."""
    return find_violations(_build(content)) if carries_xml(content) else []


def _build(content: InvoiceContent) -> EInvoice:
    """With the invoice that a credit note corrects."""
    correction = content.correction
    if correction is None:
        return build_einvoice(content)
    return build_einvoice(
        content, preceding=(correction.invoice_number, correction.invoice_issued_at.astimezone(UTC).date())
    )
