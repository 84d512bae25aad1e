"""Short-lived links to stored PDFs: whoever holds one may read that file until it expires.

On R2 the link is a presigned address, so the bytes never pass through here. With files in a folder it is an address of
ours that carries a signature. Check the permission and the file before you make one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.core import signing
from django.core.files.storage import Storage
from django.urls import reverse
from storages.backends.s3 import S3Storage

from billing_worker.core.errors import BillingError, NotFound
from invoices.messages import make_file_name
from invoices.models import InvoiceDocument
from invoices.states import DocumentState
from invoices.storage import get_storage, translate_errors

SALT: Final = "invoices.download"
CONTENT_TYPE: Final = "application/pdf"
CACHE_CONTROL: Final = "private, no-store"


class LinkExpired(BillingError):
    """The link was good and is too old. Open the document in the console again: it makes a new one."""

    code = "link_expired"
    http_status = 403


class LinkForged(NotFound):
    """Nobody here made this link, or it was changed on its way. There is nothing behind it."""

    code = "link_unknown"


@dataclass(frozen=True, slots=True)
class Download:
    """What a link of ours leads to."""

    document: InvoiceDocument
    disposition: str


def make_download_url(*, document: InvoiceDocument, is_inline: bool) -> str:
    """An address that serves the stored PDF for `DOWNLOAD_URL_SECONDS`, to show (`is_inline`) or to keep.

    No network: both kinds are computed. Nothing is checked here, neither the file nor who asks.
    """
    disposition = make_disposition(document, is_inline=is_inline)
    storage = get_storage()
    if isinstance(storage, S3Storage):
        return _presign(storage, document.storage_name, disposition)
    token = signing.dumps([document.uuid.hex, is_inline], salt=SALT)
    return reverse("invoice-file", args=[token, make_file_name(document.number)])


def _presign(storage: S3Storage, name: str, disposition: str) -> str:
    parameters = {
        "ResponseContentDisposition": disposition,
        "ResponseContentType": CONTENT_TYPE,
        "ResponseCacheControl": CACHE_CONTROL,
    }
    with translate_errors(name):
        url: str = storage.url(name, parameters=parameters, expire=settings.ENV.DOWNLOAD_URL_SECONDS)
    return url


def make_disposition(document: InvoiceDocument, *, is_inline: bool) -> str:
    """`Content-Disposition` with a file name of letters, digits, dots and dashes: nothing to quote or to forge."""
    return f'{"inline" if is_inline else "attachment"}; filename="{make_file_name(document.number)}"'


def open_link(token: str) -> Download:
    """What the signed part of a link of ours leads to.

    Raises:
        LinkExpired: it is older than `DOWNLOAD_URL_SECONDS`.
        LinkForged: the signature is wrong, or the document has no file.
    """
    try:
        uuid, is_inline = signing.loads(token, salt=SALT, max_age=settings.ENV.DOWNLOAD_URL_SECONDS)
    except signing.SignatureExpired:
        raise LinkExpired("This link has expired. Open the document in the console again.") from None
    except signing.BadSignature:
        raise LinkForged("There is no such file.") from None
    document = InvoiceDocument.objects.filter(uuid=uuid, state=DocumentState.STORED).first()
    if document is None:
        raise LinkForged("There is no such file.")
    return Download(document, make_disposition(document, is_inline=is_inline))


def open_file(document: InvoiceDocument) -> Any:
    """The stored file, to be read in pieces; whoever gets it closes it.

    Raises:
        StorageMismatch: the file is gone.
        StorageUnavailable: no answer, or a refusal.
    """
    storage: Storage = get_storage()
    with translate_errors(document.storage_name):
        return storage.open(document.storage_name)
