"""Read the archive again and hold it against the old database, its own manifests and the stored PDFs."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from typing import Any, Final

from billing_worker.legacy.history import iter_bills, list_months
from invoices.exports.history.records import Record, Tally, build_record
from invoices.exports.history.store import ArchiveStore
from invoices.exports.history.writing import (
    MANIFEST,
    MONTHS,
    build_manifest,
    iter_month_manifests,
    name_month,
)

SHOWN_DIFFERENCES: Final = 5


def list_periods(store: ArchiveStore) -> list[str]:
    """Every period that the database or the archive has.

    Raises:
        LegacyUnavailable: the old database can't be read.
    """
    archived = {manifest["period"] for manifest in iter_month_manifests(store)}
    return sorted(archived | {month.period for month in list_months()})


def verify_month(store: ArchiveStore, period: str) -> list[str]:
    """What is wrong with a month of the archive, as lines for people; empty if nothing is.

    Raises:
        LegacyUnavailable: the old database can't be read.
    """
    manifest = store.read_json(f"{MONTHS}/{name_month(period)}.json")
    if manifest is None:
        return ["is not in the archive: export it"]
    file = manifest["file"]
    measured = store.measure(file["name"])
    if measured is None:
        return [f"{file['name']} is gone: export the month again"]
    problems = []
    if measured != (file["bytes"], file["sha256"]):
        problems.append(f"{file['name']} was changed: its size or SHA-256 is not the manifest's")
    tally, content_hash = Tally(), hashlib.sha256()
    try:
        archived = _read_records(store, file["name"], tally, content_hash)
        problems += _compare(archived, (build_record(bill) for bill in iter_bills(period)))
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError, KeyError) as error:
        return [*problems, f"{file['name']} can't be read: {error}"]
    if content_hash.hexdigest() != file["content_sha256"]:
        problems.append(f"{file['name']} has other content than the manifest says")
    problems += [
        f"the manifest's {name} are {manifest[name]}, the file's {value}"
        for name, value in tally.describe().items()
        if manifest[name] != value
    ]
    return problems + _verify_pdfs(store, manifest)


def verify_manifest(store: ArchiveStore) -> list[str]:
    """Whether the archive's manifest is what its months' manifests add up to."""
    if store.read_json(MANIFEST) == build_manifest(store):
        return []
    return [f"{MANIFEST} is not what the months add up to: run the export again"]


def _read_records(store: ArchiveStore, name: str, tally: Tally, content_hash: Any) -> Iterator[Record]:
    with store.open(name) as packed, gzip.GzipFile(fileobj=packed, mode="rb") as lines:
        for line in lines:
            content_hash.update(line)
            record: Record = json.loads(line)
            tally.add(record)
            yield record


def _compare(archived: Iterator[Record], held: Iterator[Record]) -> list[str]:
    """The differences, both sides in the order of `inv_id`: the first ones in words, the others counted."""
    found: list[str] = []
    count = 0
    ours, theirs = next(archived, None), next(held, None)
    while ours is not None or theirs is not None:
        difference = ""
        if theirs is None or (ours is not None and ours["inv_id"] < theirs["inv_id"]):
            assert ours is not None
            difference = f"invoice {ours['inv_id']} is not in the database any more"
            ours = next(archived, None)
        elif ours is None or theirs["inv_id"] < ours["inv_id"]:
            difference = f"invoice {theirs['inv_id']} is in the database only"
            theirs = next(held, None)
        else:
            difference = _describe_difference(ours, theirs)
            ours, theirs = next(archived, None), next(held, None)
        count += bool(difference)
        if difference and count <= SHOWN_DIFFERENCES:
            found.append(difference)
    return found + ([f"and {count - SHOWN_DIFFERENCES} more"] if count > SHOWN_DIFFERENCES else [])


def _describe_difference(ours: Record, theirs: Record) -> str:
    """Which columns differ; empty if none does."""
    names = [name for name in theirs if ours.get(name) != theirs[name]] + [n for n in ours if n not in theirs]
    if not names:
        return ""
    parts = [
        "its lines" if name == "lines" else f"{name} is {theirs.get(name)}, archived as {ours.get(name)}"
        for name in names
    ]
    return f"invoice {theirs['inv_id']} differs: {', '.join(parts)}"


def _verify_pdfs(store: ArchiveStore, manifest: dict[str, Any]) -> list[str]:
    problems = []
    for pdf in manifest["pdfs"]:
        measured = store.measure(pdf["name"])
        if measured is None:
            problems.append(f"{pdf['name']} is gone")
        elif measured != (pdf["bytes"], pdf["sha256"]):
            problems.append(f"{pdf['name']} was changed")
    return problems
