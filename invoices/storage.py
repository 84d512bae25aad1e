"""PDFs in storage: written once, verified by size and hash, read with the hash checked. Never in a transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages

from billing_worker.core.errors import BillingError, Unavailable


class StorageMismatch(BillingError):
    """What storage holds is not what was written. Do not send it: find out who changed it, then render again."""

    code = "storage_mismatch"


class StorageUnavailable(Unavailable):
    """Storage did not answer or refused. The same call may work later; the row waits for it."""

    code = "storage_unavailable"


@dataclass(frozen=True, slots=True)
class StoredFile:
    name: str
    size: int
    sha256: str


def get_storage() -> Storage:
    return storages["invoices"]


def _find_errors() -> tuple[type[Exception], ...]:
    """What a storage raises that cannot be used. Asked when something is raised, because R2's are 6 MB of a process."""
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError, OSError


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """What storage raises about a file, in our words."""
    try:
        yield
    except FileNotFoundError:
        raise StorageMismatch(f"{name} is not in storage any more: render it again") from None
    except _find_errors() as error:
        raise StorageUnavailable(f"storage cannot be used for {name}: {error}") from error


def store_pdf(*, name: str, body: bytes, may_replace: Callable[[], bool] = lambda: True) -> StoredFile:
    """Write a file under exactly this name and read it back.

    A file that is there already and is the same is taken as it is: an earlier worker died after writing it. One that
    differs is that worker's torso and is replaced, if `may_replace` says that its row is still unsettled: a worker that
    was thought dead and comes back must not touch the file of the one that took over.

    Raises:
        StorageMismatch: what comes back differs from what was written, or another file is there and settled.
        StorageUnavailable: no answer, or a refusal.
    """
    with translate_errors(name):
        return _store(name, body, may_replace)


def _store(name: str, body: bytes, may_replace: Callable[[], bool]) -> StoredFile:
    storage = get_storage()
    sha256 = hashlib.sha256(body).hexdigest()
    if storage.exists(name):
        if _hash_file(storage, name) == sha256:
            return StoredFile(name, len(body), sha256)
        if not may_replace():
            raise StorageMismatch(f"{name} was written by another worker, with other bytes: theirs counts")
        storage.delete(name)
    saved = storage.save(name, ContentFile(body))
    if saved != name:
        storage.delete(saved)
        raise StorageMismatch(f"storage wrote {saved} instead of {name}: another writer was faster")
    if storage.size(name) != len(body) or _hash_file(storage, name) != sha256:
        raise StorageMismatch(f"{name} does not hold the {len(body)} bytes that were written")
    return StoredFile(name, len(body), sha256)


def read_pdf(*, name: str, sha256: str) -> bytes:
    """The stored bytes.

    Raises:
        StorageMismatch: the file is gone or its hash is not the recorded one.
        StorageUnavailable: no answer, or a refusal.
    """
    with translate_errors(name), get_storage().open(name) as file:
        body: bytes = file.read()
    if hashlib.sha256(body).hexdigest() != sha256:
        raise StorageMismatch(f"{name} was changed in storage: its SHA-256 is not the recorded one")
    return body


def _hash_file(storage: Storage, name: str) -> str:
    with storage.open(name) as file:
        return hashlib.sha256(file.read()).hexdigest()
