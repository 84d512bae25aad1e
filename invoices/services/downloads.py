"""Who takes a copy of a document: checked, noted, and then sent to a link that soon expires."""

from __future__ import annotations

from datetime import datetime

import structlog

from billing_worker.accounts.audit import record_audit
from billing_worker.core.errors import NotFound
from invoices.downloads import make_download_url
from invoices.models import InvoiceDocument
from invoices.states import DocumentState
from invoices.storage import read_pdf

log = structlog.get_logger(__name__)


class NoPdf(NotFound):
    """The document has no stored file: it is not rendered yet, blocked, or given up. Its page says which."""

    code = "no_pdf"


def open_download(*, document: InvoiceDocument, is_inline: bool, actor: str, now: datetime) -> str:
    """A link to the stored PDF, good for `DOWNLOAD_URL_SECONDS`. Ask for the permission first; not in a transaction.

    A copy (not `is_inline`) is audited under the actor's name, a look in the preview is logged.

    Raises:
        NoPdf: nothing is stored.
        StorageMismatch: the file is gone, or is not the one that was written.
        StorageUnavailable: storage does not answer.
    """
    if document.state != DocumentState.STORED:
        raise NoPdf(f"There is no PDF: {document.get_state_display()}.")
    read_pdf(name=document.storage_name, sha256=document.pdf_sha256)
    url = make_download_url(document=document, is_inline=is_inline)
    log.info("document_opened", document=document.pk, number=document.number, actor=actor, inline=is_inline)
    if not is_inline:
        record_audit(
            actor=actor,
            action="invoices.downloaded",
            subject_type="InvoiceDocument",
            subject_id=document.pk,
            at=now,
            after={"number": document.number, "revision": document.revision},
        )
    return url
