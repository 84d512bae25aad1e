"""Write the archive, month by month. A month's manifest is written last: without it, the month is done again."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final, cast

from billing_worker.legacy.history import LegacyMonth, iter_bills, list_months
from invoices.exports.history.pdfs import PdfFinder, PdfMissing
from invoices.exports.history.records import Record, Tally, build_record, format_record
from invoices.exports.history.store import ArchiveStore

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
MONTHS: Final = "months"
_IN_MEMORY: Final = 16 << 20
_COUNTED: Final = ("invoices", "lines", "without_pdf")
_PLAIN: Final = re.compile(r"[0-9]{4}-[0-9]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthResult:
    """What was written for a month."""

    period: str
    invoices: int
    lines: int
    pdfs: int
    missing_pdfs: int


def plan_history(store: ArchiveStore, *, again: bool = False) -> tuple[list[LegacyMonth], int]:
    """The months to write, and how many stand already as the database has them.

    Raises:
        LegacyUnavailable: the old database can't be read.
    """
    months = list_months()
    todo = [month for month in months if again or not _is_written(store, month)]
    return todo, len(months) - len(todo)


def export_months(
    *, store: ArchiveStore, finder: PdfFinder, months: list[LegacyMonth]
) -> Iterator[MonthResult]:
    """Write these months, one result each, then the archive's manifest.

    Raises:
        LegacyUnavailable: the old database can't be read. What is written stays.
        ArchiveBusy: another export is at work.
    """
    for month in months:
        yield _export_month(store, finder, month)
    write_json(store, MANIFEST, build_manifest(store))


def build_manifest(store: ArchiveStore) -> dict[str, Any]:
    """The archive's manifest, from its months' manifests."""
    months = list(iter_month_manifests(store))
    sums: dict[str, dict[str, Decimal]] = {}
    for month in months:
        for currency, amounts in month["sums"].items():
            total = sums.setdefault(currency, dict.fromkeys(amounts, Decimal("0.00")))
            for name, amount in amounts.items():
                total[name] += Decimal(amount)
    return {
        "format": FORMAT,
        **{name: sum(month[name] for month in months) for name in _COUNTED},
        "pdfs": sum(len(month["pdfs"]) for month in months),
        "missing_pdfs": sum(len(month["missing_pdfs"]) for month in months),
        "sums": {
            currency: {name: str(amount) for name, amount in amounts.items()}
            for currency, amounts in sorted(sums.items())
        },
        "months": [
            {
                "period": month["period"],
                **month["file"],
                **{name: month[name] for name in _COUNTED},
                "pdfs": len(month["pdfs"]),
                "missing_pdfs": len(month["missing_pdfs"]),
                "sums": month["sums"],
            }
            for month in months
        ],
    }


def iter_month_manifests(store: ArchiveStore) -> Iterator[dict[str, Any]]:
    """The manifests of the months that are wholly written, in order."""
    for name in store.list_names(MONTHS):
        if name.endswith(".json") and (manifest := store.read_json(f"{MONTHS}/{name}")) is not None:
            yield manifest


def name_month(period: str) -> str:
    """The month as part of a file's name; what is no month is spelled out in hex."""
    return period if _PLAIN.fullmatch(period) else f"odd-{period.encode().hex()}"


def write_json(store: ArchiveStore, name: str, value: dict[str, Any]) -> None:
    """The same value gives the same bytes."""
    store.write(name, io.BytesIO(json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"))


def _is_written(store: ArchiveStore, month: LegacyMonth) -> bool:
    manifest = store.read_json(f"{MONTHS}/{name_month(month.period)}.json")
    return (
        manifest is not None
        and manifest["format"] == FORMAT
        and manifest["source"] == month.fingerprint
        and store.has(manifest["file"]["name"])
    )


def _export_month(store: ArchiveStore, finder: PdfFinder, month: LegacyMonth) -> MonthResult:
    stem = name_month(month.period)
    before = _reopen(store, f"{MONTHS}/{stem}.json")
    name = f"invoices-{stem}.jsonl.gz"
    tally, content_hash = Tally(), hashlib.sha256()
    pdfs: list[dict[str, Any]] = []
    missing: list[dict[str, Any]] = []
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        # No name and no time in the header: the same rows give the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=spool, mtime=0) as packed:
            for bill in iter_bills(month.period):
                record = build_record(bill)
                line = format_record(record)
                packed.write(line)
                content_hash.update(line)
                tally.add(record)
                _copy_pdf(store, finder, record, before, pdfs, missing)
        store.write(name, cast("IO[bytes]", spool))
    measured = store.measure(name)
    assert measured is not None, "it was just written"
    manifest = {
        "format": FORMAT,
        "period": month.period,
        "source": month.fingerprint,
        "file": {
            "name": name,
            "bytes": measured[0],
            "sha256": measured[1],
            "content_sha256": content_hash.hexdigest(),
        },
        **tally.describe(),
        "pdfs": pdfs,
        "missing_pdfs": missing,
    }
    write_json(store, f"{MONTHS}/{stem}.json", manifest)
    return MonthResult(
        period=month.period,
        invoices=tally.invoices,
        lines=tally.lines,
        pdfs=len(pdfs),
        missing_pdfs=len(missing),
    )


def _reopen(store: ArchiveStore, name: str) -> dict[int, dict[str, Any]]:
    """Mark a month as unfinished, if it was written before. Returns the PDFs that it has, by `inv_id`."""
    manifest = store.read_json(name)
    if manifest is None:
        return {}
    write_json(store, name, {**manifest, "source": ""})
    return {pdf["inv_id"]: pdf for pdf in manifest["pdfs"]}


def _copy_pdf(
    store: ArchiveStore,
    finder: PdfFinder,
    record: Record,
    before: dict[int, dict[str, Any]],
    pdfs: list[dict[str, Any]],
    missing: list[dict[str, Any]],
) -> None:
    """Copy the invoice's PDF, unless it is there already (an export was broken off), and note what became of it.

    A PDF that an earlier export copied stays, even if it can't be found where it came from any more.
    """
    if not record["pdf_url"]:
        return
    inv_id = record["inv_id"]
    name = f"pdf/{record['acct_id']}/{inv_id}.pdf"
    try:
        body = finder.read(record["pdf_url"])
    except PdfMissing as error:
        copied = before.get(inv_id)
        if copied is not None and store.measure(copied["name"]) == (copied["bytes"], copied["sha256"]):
            pdfs.append(copied)
        else:
            missing.append({"inv_id": inv_id, "pdf_url": record["pdf_url"], "reason": str(error)})
        return
    measured = (len(body), hashlib.sha256(body).hexdigest())
    if store.measure(name) != measured:
        store.write(name, io.BytesIO(body))
    pdfs.append({"inv_id": inv_id, "name": name, "bytes": measured[0], "sha256": measured[1]})
