"""What a document adds up to where a page ends, and again where the next begins; nothing where its lines end."""

from __future__ import annotations

import io
import re
from decimal import Decimal
from itertools import chain
from typing import Any

import pytest
from pypdf import PdfReader

from invoices.content import InvoiceContent
from invoices.formatting import get_formatter
from invoices.layout import build_page
from invoices.rendering.pdf import render_pdf
from invoices.sections import Row, Section, group_lines
from invoices.truth import read_pages
from tests.invoices.harms import walk
from tests.invoices.sample_lines import build_job, charge_lines
from tests.invoices.samples import (
    VARIANTS,
    build_content,
    build_credit_note,
    build_family,
    build_long,
    tell_days,
)

#: As every language says it: at the end of a page, and at the beginning of the next.
WORDS = {
    "en_US": ("Subtotal carried forward", "Brought forward"),
    "de_DE": ("Zwischensumme (Übertrag)", "Übertrag"),
    "fr_FR": ("Sous-total à reporter", "Report"),
    "es_ES": ("Suma y sigue", "Suma anterior"),
    "ja_JP": ("小計（次頁へ繰越）", "前頁より繰越"),
}


def read_lines(body: bytes) -> list[list[str]]:
    """The printed lines of each page, with one plain blank between words."""
    return [
        [" ".join(line.split()) for line in re.split(r"[\r\n]+", page) if line.strip()]
        for page in read_pages(body)
    ]


def find_figure(lines: list[str], words: str) -> str | None:
    """The amount behind these words, which end their printed line, once on a page."""
    pattern = re.compile(rf"(?:^|[)）] ){re.escape(words)} (\S.*)$")
    found = [match[1] for line in lines if (match := pattern.search(line))]
    assert len(found) <= 1, found
    return found[0] if found else None


def print_row(row: Row) -> str:
    what = " · ".join(part for part in (row.description, row.detail) if part)
    return " ".join(f"{what} {row.quantity} {row.unit_price} {row.amount}".split())


def list_rows(content: InvoiceContent) -> dict[str, tuple[int, Section]]:
    """Every line as it is printed, with its amount and its section."""
    rows = [(row, section) for section in build_page(content).sections for row in section.rows]
    amounts = [line.amount_minor for group in group_lines(content) for line in group]
    listed = {print_row(row): (amount, section) for (row, section), amount in zip(rows, amounts, strict=True)}
    assert len(listed) == len(content.lines), "no two lines are printed alike"
    return listed


def check_pages(content: InvoiceContent, *, least: int = 2) -> list[list[str]]:
    """Add up each page as a reader would: the lines on it, from what was brought to what is carried forward."""
    carried_words, brought_words = WORDS[content.locale]
    formatter = get_formatter(content.locale)
    rows = list_rows(content)
    pages = read_lines(render_pdf(content).body)
    assert len(pages) >= least
    total, seen, brought = 0, 0, None
    for number, lines in enumerate(pages, start=1):
        assert find_figure(lines, brought_words) == brought, number
        here = [rows[line][0] for line in lines if line in rows]
        total += sum(here)
        seen += len(here)
        brought = None
        if number < len(pages):
            brought = " ".join(formatter.money(total, content.currency).split())
        assert find_figure(lines, carried_words) == brought, number
    assert (seen, total) == (len(rows), content.subtotal_minor)
    return pages


def test_a_long_invoice_by_hand():
    """10.00, 10.01, ... 11.19: 28, 70, 112 and 120 of them. n lines are 10 n and a cent for each pair."""
    pages = check_pages(build_long(120), least=4)
    words = ("Brought forward", "Subtotal carried forward")
    assert [tuple(find_figure(lines, each) for each in words) for lines in pages] == [
        (None, "$283.78"),
        ("$283.78", "$724.15"),
        ("$724.15", "$1,182.16"),
        ("$1,182.16", None),
    ]  # fmt: skip
    assert pages[-1][-7].endswith(" Subtotal $1,271.40")


@pytest.mark.parametrize(("locale", "currency"), [("en_US", "usd"), ("de_DE", "eur"), ("ja_JP", "jpy")])
def test_sections_tiers_free_lines_and_credits_add_up_on_each_page(locale, currency):
    content = build_family(8, locale=locale, currency=currency, given_back=-1_250_000)
    pages = check_pages(content, least=4)
    sums = [find_figure(lines, WORDS[locale][0]) for lines in pages[:-1]]
    assert "-" in str(sums[-1]), "more was given back than charged so far"
    if locale == "ja_JP":
        assert "¥" in "".join(pages[0]).replace("￥", "¥")
        assert ".00" not in "".join("".join(lines) for lines in pages)


@pytest.mark.parametrize("locale", ["fr_FR", "es_ES"])
def test_each_language_says_it_in_its_own_words(locale):
    check_pages(build_long(60).model_copy(update={"locale": locale}))


def test_discounts_and_taxes_come_after_the_lines():
    lines = charge_lines(list(build_long(60).lines), percent=Decimal(19), discounts=[100] * 30)
    pages = check_pages(build_content(lines))
    assert "Discount -$30.00" in pages[-1]


def test_credit_notes_carry_their_sums_too():
    lines = [line.model_copy(update={"quantity": None}) for line in build_long(70).lines]
    check_pages(build_credit_note(lines))


@pytest.mark.parametrize("variant", ["twelve-lines", "jpy-japanese", "full-french", "credit-note", "receipt"])
def test_a_document_of_one_page_has_none(variant):
    pages = read_lines(render_pdf(VARIANTS[variant]()).body)
    assert len(pages) == 1
    for words in chain(*WORDS.values()):
        assert find_figure(pages[0], words) is None


def test_a_page_says_which_section_goes_on_and_begins_and_ends_with_no_heading_or_total():
    content = build_family(8)
    rows = list_rows(content)
    pages = read_lines(render_pdf(content).body)
    goes_on = []
    for number, lines in enumerate(pages):
        table = lines[lines.index("Description Quantity Unit price Amount") + 1 :]
        end = next(index for index, line in enumerate(table) if line.startswith(("Lumenade", "Questions")))
        assert not table[0].startswith("Total "), table[0]
        assert table[end - 1] in rows or table[end - 1].startswith("Total "), table[end - 1]
        heads = [line.partition(" (continued)")[0] for line in lines if "(continued)" in line]
        if number and table[0] in rows:
            _, section = rows[table[0]]
            assert heads == [" · ".join(filter(None, [section.title, " ".join(section.note.split())]))]
            goes_on += heads
        else:
            assert heads == []
    assert "Managed services" in goes_on
    assert len(goes_on) < len(pages) - 1, "other pages begin with a heading"


def test_no_reader_reads_them_twice():
    """In a tagged file they belong to no element of the structure tree, like the other words in the margins."""
    reader: Any = PdfReader(io.BytesIO(render_pdf(build_long(40)).body))
    page = reader.pages[0]
    texts: dict[int | None, str] = {}
    current: list[int | None] = [None]

    def watch(operator: bytes, operands: Any, *_: Any) -> None:
        if operator in (b"BDC", b"BMC", b"EMC"):
            current[0] = operands[1].get("/MCID") if operator == b"BDC" else None

    def take(text: str, *_: Any) -> None:
        texts[current[0]] = texts.get(current[0], "") + text

    page.extract_text(visitor_operand_before=watch, visitor_text=take)
    tagged = {
        child["/MCID"] if hasattr(child, "get") else int(child)
        for element in walk(reader.root_object["/StructTreeRoot"])
        for child in (element["/K"] if isinstance(element.get("/K"), list) else [element.get("/K")])
        if isinstance(child, int) or (hasattr(child, "get") and child.get("/Type") == "/MCR")
    }
    untagged = "".join(text for place, text in texts.items() if place not in tagged)
    assert "Subtotal carried forward" in untagged
    assert "Page 1 of 2" in untagged
    assert "Insertion order 00024" not in untagged


@pytest.mark.parametrize(("count", "on_last"), [(22, 22), (23, 2), (29, 2)])
def test_the_sums_of_a_document_take_two_lines_with_them(count, on_last):
    """22 lines fill a page; of one more there are 21 on the first, and two with the sums on the next."""
    content = build_long(count)
    rows = list_rows(content)
    pages = read_lines(render_pdf(content).body)
    assert len([line for line in pages[-1] if line in rows]) == on_last
    assert sum(line in rows for lines in pages for line in lines) == count


def test_lines_begin_on_the_first_page_however_long_they_are():
    lines = [build_job(f"{'word ' * 58}{number}", 100, 2, number=number) for number in range(5)]
    first, second = read_lines(render_pdf(tell_days(build_content(lines))).body)
    assert any(line.startswith("word") for line in first)
    assert find_figure(first, "Subtotal carried forward") == find_figure(second, "Brought forward") == "$3.00"
