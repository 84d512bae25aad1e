"""Where the archive lies: below one name in the invoices' storage, or in a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from django.core.files.base import File
from django.core.files.storage import Storage

from billing_worker.core.errors import Conflict

_BLOCK = 1 << 20


class ArchiveBusy(Conflict):
    """Another export writes the same archive. Let it finish, then start this one again."""

    code = "archive_busy"


class ArchiveStore:
    """Files by name. `write` replaces; nothing is ever appended."""

    def __init__(self, storage: Storage, root: str = "") -> None:
        self._storage = storage
        self._root = f"{root}/" if root else ""

    def write(self, name: str, content: IO[bytes]) -> None:
        """Put a file in the place of the one that is there, if any.

        Raises:
            ArchiveBusy: somebody else wrote it at the same time.
        """
        full = self._root + name
        self.delete(name)
        content.seek(0)
        saved = self._storage.save(full, File(content))
        if saved != full:
            self._storage.delete(saved)
            raise ArchiveBusy(f"storage wrote {saved} instead of {full}: another export is at work")

    def delete(self, name: str) -> None:
        if self._storage.exists(self._root + name):
            self._storage.delete(self._root + name)

    def has(self, name: str) -> bool:
        return self._storage.exists(self._root + name)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Raises FileNotFoundError."""
        with self._storage.open(self._root + name) as file:
            yield file

    def measure(self, name: str) -> tuple[int, str] | None:
        """Bytes and SHA-256 of a file; None if it isn't there."""
        if not self.has(name):
            return None
        size, digest = 0, hashlib.sha256()
        with self.open(name) as file:
            while block := file.read(_BLOCK):
                size += len(block)
                digest.update(block)
        return size, digest.hexdigest()

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON object; None if it isn't there or is none (an export was killed while writing it)."""
        if not self.has(name):
            return None
        with self.open(name) as file:
            try:
                value = json.loads(file.read())
            except ValueError:
                return None
        return value if isinstance(value, dict) else None

    def list_names(self, folder: str) -> list[str]:
        """The files of a folder, sorted."""
        try:
            return sorted(self._storage.listdir(self._root + folder)[1])
        except FileNotFoundError:
            return []
