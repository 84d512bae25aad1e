"""The old invoices' PDFs: found where `pdf_url` says, if that is a place we may read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.core.exceptions import SuspiciousOperation
from django.core.files.storage import Storage

_MAGIC = b"%PDF-"


class PdfMissing(Exception):
    """There is no PDF to copy. The message says why, for the manifest."""


class PdfFinder:
    """Reads PDFs from below the given folders and from the invoices' storage; nothing else on the disk, no network."""

    def __init__(self, folders: Sequence[Path], storage: Storage) -> None:
        self._folders = [folder.resolve() for folder in folders]
        self._storage = storage

    def read(self, pdf_url: str) -> bytes:
        """The PDF's bytes.

        Raises:
            PdfMissing: with the reason.
        """
        try:
            body = self._read_file(pdf_url)
        except OSError as error:
            raise PdfMissing(f"can't be read: {error.strerror or type(error).__name__}") from None
        except ValueError:
            raise PdfMissing("is not a path") from None
        if not body.startswith(_MAGIC):
            raise PdfMissing("is not a PDF")
        return body

    def _read_file(self, pdf_url: str) -> bytes:
        parts = urlsplit(pdf_url)
        if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
            raise PdfMissing("is an address, which is not fetched")
        path = Path(unquote(parts.path) if parts.scheme else pdf_url)
        for folder in self._folders:
            candidate = (folder / path).resolve()
            if candidate.is_relative_to(folder) and candidate.is_file():
                return candidate.read_bytes()
        if path.is_absolute():
            raise PdfMissing("is not a file below a --pdf-root")
        return self._read_stored(str(path))

    def _read_stored(self, name: str) -> bytes:
        try:
            if self._storage.exists(name):
                with self._storage.open(name) as file:
                    body: bytes = file.read()
                    return body
        except SuspiciousOperation:
            raise PdfMissing("leads out of storage") from None
        raise PdfMissing("is neither below a --pdf-root nor in storage")
