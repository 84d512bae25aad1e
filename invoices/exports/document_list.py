"""The console's list of documents, as it is filtered, for a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final

from django.db.models import QuerySet
from openpyxl import Workbook

from billing_worker.core.money import to_major
from invoices.exports.cells import make_amount_cell, make_text_cell, neutralize_text
from invoices.models import InvoiceDocument
from invoices.states import DocumentKind, MailState

COLUMNS: Final = (
    *("number", "kind", "account", "name", "month", "currency", "total", "at Stripe", "revision"),
    *("PDF", "mail", "made (UTC)", "stored (UTC)"),
)
_TOTAL: Final = COLUMNS.index("total")
_CHUNK: Final = 500


class _Echo:
    """A file that gives back what is written to it, so that rows leave as they are made."""

    def write(self, text: str) -> str:
        return text


def iterate_csv(documents: QuerySet[Any]) -> Iterator[str]:
    """CSV text, a row at a time, with a byte order mark for spreadsheets; amounts in major units with a point."""
    echo: Any = _Echo()
    writer = csv.writer(echo)
    yield "\ufeff" + writer.writerow(COLUMNS)
    for document in _iterate(documents):
        row: list[str] = [neutralize_text(text) for text in _list_texts(document)]
        row.insert(_TOTAL, str(to_major(_sign_total(document), document.currency)))
        yield writer.writerow(row)


def write_workbook(documents: QuerySet[Any], target: IO[bytes]) -> None:
    """An XLSX file with one sheet, written to an open binary file. Amounts are numbers, texts are texts."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Documents")
    sheet.freeze_panes = "A2"
    sheet.append([make_text_cell(sheet, title, bold=True) for title in COLUMNS])
    for document in _iterate(documents):
        cells = [make_text_cell(sheet, text) for text in _list_texts(document)]
        cells.insert(_TOTAL, make_amount_cell(sheet, _sign_total(document), document.currency))
        sheet.append(cells)
    book.save(target)


def _iterate(documents: QuerySet[Any]) -> Iterable[Any]:
    """In portions: neither the rows nor their contents are all in memory at once."""
    return documents.defer("content").iterator(chunk_size=_CHUNK)


def _sign_total(document: InvoiceDocument) -> int:
    """A credit note takes away."""
    return -document.total_minor if document.kind == DocumentKind.CREDIT_NOTE else document.total_minor


def _list_texts(document: Any) -> list[str]:
    mail_state = document.mail_state
    return [
        document.number,
        document.get_kind_display(),
        str(document.account_id),
        document.account.name,
        document.period,
        document.currency.upper(),
        document.invoice.status,
        str(document.revision),
        document.get_state_display(),
        str(MailState(mail_state).label) if mail_state else "",
        f"{document.created_at:%Y-%m-%d %H:%M:%S}",
        f"{document.stored_at:%Y-%m-%d %H:%M:%S}" if document.stored_at else "",
    ]
