"""The month-end export as a workbook (a sheet for each currency, and a summary) and as one CSV file."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

from openpyxl import Workbook
from openpyxl.utils import get_column_letter

from billing_worker.core.money import to_major
from billing_worker.core.periods import Period
from billing_worker.mirror.states import LineKind
from invoices.exports.cells import (
    make_amount_cell,
    make_date_cell,
    make_number_cell,
    make_text_cell,
    neutralize_text,
)
from invoices.exports.month_end import AMOUNTS, KINDS, CurrencyTotals, InvoiceRow

#: Texts, then dates, then amounts: the columns of both files, in this order.
TEXTS: Final = ("number", "account_id", "account_name", "cohort", "status", "method")
DATES: Final = ("issued_date", "due_date", "paid_date")
_TITLES: Final = {
    "account_id": "account",
    "account_name": "name",
    "issued_date": "issued",
    "due_date": "due",
    "paid_date": "paid on",
    "other_periods": "for other months",
    "tax_in_prices": "tax in prices",
    "days_to_pay": "days to pay",
}
_WIDTHS: Final = {"number": 20, "account_name": 36, "cohort": 16, "method": 22}


def write_workbook(
    path: Path,
    *,
    period: Period,
    rows: Sequence[InvoiceRow],
    totals: Mapping[str, CurrencyTotals],
    service_month: Mapping[str, Mapping[str, int]],
    now: datetime,
) -> None:
    """Write the XLSX file; it appears whole or not at all."""
    book = Workbook(write_only=True)
    book.properties.creator = "billing-worker"
    book.properties.created = book.properties.modified = now.replace(tzinfo=None)
    _write_summary(book.create_sheet("Summary"), period, totals, service_month)
    for currency, sums in totals.items():
        own = [row for row in rows if row.currency == currency]
        _write_currency(book.create_sheet(currency.upper()), period, own, sums, currency)
    _replace(path, book.save)


def write_csv(path: Path, *, rows: Iterable[InvoiceRow]) -> None:
    """Write the CSV file: every invoice, amounts in major units beside `currency`, no totals.

    UTF-8 with a byte order mark, without which Excel takes it for the machine's own encoding.
    """

    def write(temporary: str) -> None:
        with open(temporary, "w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file, lineterminator="\r\n")
            amounts = [f"lines_{kind.lower()}" for kind in KINDS] + list(AMOUNTS)
            names = [*TEXTS, "stripe_invoice_id", *DATES, "currency", *amounts, "days_to_pay"]
            writer.writerow(names)
            writer.writerows(_format_row(row) for row in rows)

    _replace(path, write)


def _format_row(row: InvoiceRow) -> list[str]:
    texts = [neutralize_text(str(getattr(row, name))) for name in (*TEXTS, "stripe_invoice_id")]
    dates = [value.isoformat() if (value := getattr(row, name)) else "" for name in DATES]
    minors = [row.lines_minor[kind] for kind in KINDS] + [getattr(row, f"{name}_minor") for name in AMOUNTS]
    amounts = [str(to_major(minor, row.currency)) for minor in minors]
    days = "" if row.days_to_pay is None else str(row.days_to_pay)
    return [*texts, *dates, row.currency.upper(), *amounts, days]


def _write_currency(
    sheet: Any, period: Period, rows: Sequence[InvoiceRow], totals: CurrencyTotals, currency: str
) -> None:
    columns = [*TEXTS, *DATES, *KINDS, *AMOUNTS, "days_to_pay"]
    sheet.freeze_panes = "C2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(columns))}{len(rows) + 1}"
    for position, name in enumerate(columns, start=1):
        sheet.column_dimensions[get_column_letter(position)].width = _WIDTHS.get(name, 14)
    sheet.append([make_text_cell(sheet, _get_title(name, period), bold=True) for name in columns])
    for row in rows:
        sheet.append(
            [
                *(_make_cell(sheet, getattr(row, name)) for name in TEXTS),
                *(make_date_cell(sheet, getattr(row, name)) for name in DATES),
                *(make_amount_cell(sheet, row.lines_minor[kind], currency) for kind in KINDS),
                *(make_amount_cell(sheet, getattr(row, f"{name}_minor"), currency) for name in AMOUNTS),
                None if row.days_to_pay is None else make_number_cell(sheet, row.days_to_pay),
            ]
        )
    void = f" (and {totals.void} void, not counted)" if totals.void else ""
    title = f"Total of {totals.invoices} invoices{void}"
    blanks = [None] * (len(TEXTS) + len(DATES) - 1)
    sheet.append([make_text_cell(sheet, title, bold=True), *blanks, *_make_sums(sheet, totals, currency)])


def _write_summary(
    sheet: Any,
    period: Period,
    totals: Mapping[str, CurrencyTotals],
    service_month: Mapping[str, Mapping[str, int]],
) -> None:
    sheet.column_dimensions["A"].width = 44
    names = ["invoices", "void", *KINDS, *AMOUNTS]
    heading = make_text_cell(sheet, f"Invoices of {period}", bold=True)
    sheet.append([heading, *(make_text_cell(sheet, _get_title(name, period), bold=True) for name in names)])
    for currency, sums in totals.items():
        counts = [make_number_cell(sheet, sums.invoices), make_number_cell(sheet, sums.void)]
        sheet.append(
            [make_text_cell(sheet, currency.upper()), *counts, *_make_sums(sheet, sums, currency, bold=False)]
        )
    sheet.append([])
    heading = make_text_cell(sheet, f"Billed for {period}, whatever the invoice", bold=True)
    kinds = [make_text_cell(sheet, _get_title(name, period), bold=True) for name in (*KINDS, "sum")]
    sheet.append([heading, None, None, *kinds])
    for currency, by_kind in service_month.items():
        amounts = [*(by_kind[kind] for kind in KINDS), sum(by_kind.values())]
        cells = [make_amount_cell(sheet, amount, currency) for amount in amounts]
        sheet.append([make_text_cell(sheet, currency.upper()), None, None, *cells])


def _make_sums(sheet: Any, totals: CurrencyTotals, currency: str, *, bold: bool = True) -> list[Any]:
    amounts = [*(totals.lines_minor[kind] for kind in KINDS), *totals.amounts_minor.values()]
    return [make_amount_cell(sheet, amount, currency, bold=bold) for amount in amounts]


def _make_cell(sheet: Any, value: str | int) -> Any:
    return make_number_cell(sheet, value) if isinstance(value, int) else make_text_cell(sheet, value)


def _get_title(name: str, period: Period) -> str:
    if name == "for_period":
        return f"for {period}"
    return str(LineKind(name).label) if name in KINDS else _TITLES.get(name, name)


def _replace(path: Path, write: Callable[[str], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in its place."""
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        temporary = file.name
    try:
        write(temporary)
        os.chmod(temporary, 0o640)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
