"""Text and amounts as spreadsheets may have them: a customer's name is never a formula, an amount is a number."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Font

from billing_worker.core.money import get_exponent, to_major

#: What makes a spreadsheet read a text as a formula, full-width forms included.
#: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS: Final = tuple("=+-@|%\uff1d\uff0b\uff0d\uff20")
BOLD: Final = Font(bold=True)


def starts_formula(text: str) -> bool:
    """Whether a spreadsheet could run this text. Blanks and control characters before it don't help."""
    return text.lstrip().startswith(_FORMULA_STARTS) or text[:1] in {"\t", "\r", "\n"}


def clean_text(text: str) -> str:
    """The text without control characters, which XLSX can't hold and nobody can see."""
    return str(ILLEGAL_CHARACTERS_RE.sub("\ufffd", text))


def neutralize_text(text: str) -> str:
    """For CSV: an apostrophe before what could be a formula, which spreadsheets take as `this is text`."""
    text = clean_text(text)
    return f"'{text}" if starts_formula(text) else text


def make_text_cell(sheet: Any, text: str, *, bold: bool = False) -> WriteOnlyCell:
    """For XLSX: always a text, and marked as one where somebody might edit it or save the sheet as CSV."""
    text = clean_text(text)
    cell = WriteOnlyCell(sheet, value=text)
    cell.data_type = "s"
    if starts_formula(text):
        cell.quotePrefix = True
    if bold:
        cell.font = BOLD
    return cell


def make_amount_cell(sheet: Any, amount_minor: int, currency: str, *, bold: bool = False) -> WriteOnlyCell:
    """A number in major units, shown with the currency's places (none for JPY)."""
    cell = WriteOnlyCell(sheet, value=to_major(amount_minor, currency))
    places = get_exponent(currency)
    cell.number_format = f"#,##0.{'0' * places}" if places else "#,##0"
    if bold:
        cell.font = BOLD
    return cell


def make_number_cell(sheet: Any, value: int | Decimal, *, bold: bool = False) -> WriteOnlyCell:
    cell = WriteOnlyCell(sheet, value=value)
    cell.number_format = "0"
    if bold:
        cell.font = BOLD
    return cell


def make_date_cell(sheet: Any, value: Any) -> WriteOnlyCell:
    cell = WriteOnlyCell(sheet, value=value)
    cell.number_format = "yyyy-mm-dd"
    return cell
