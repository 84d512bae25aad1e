"""Whether a finished PDF says what Stripe says: its text is read back, and each fact is looked for beside its label.

What is printed depends on a template, a style sheet, fonts and WeasyPrint. None of them is trusted with money: the file
itself is asked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from threading import Lock
from typing import Final

import pypdfium2

from invoices.content import InvoiceContent
from invoices.formatting import get_formatter
from invoices.layout import is_payable
from invoices.locales import get_language, get_texts
from invoices.papers import credit_note, receipt
from invoices.papers.base import Fact
from invoices.papers.sums import collect_tax_facts
from invoices.rendering.fonts import make_printable

#: PDFium is not safe in threads: one at a time in a process. Worker processes do not disturb each other.
PDFIUM: Final = Lock()
#: Before and behind a fact: what would make it a part of a longer number.
_ENDS_IN_NUMBER: Final = re.compile(r"\d[.,]?\Z")
_BEGINS_NUMBER: Final = re.compile(r"[.,]?\d")


def find_untruths(content: InvoiceContent, body: bytes) -> list[str]:
    """What Stripe has and the PDF does not say, one sentence each; empty when the file is true.

    Of an invoice number, total with its currency, taxes in its prices, amount due, account, and while it is to be paid
    the due date; of a receipt its invoice, the day and amount of the payment and what remains; of a credit note its
    invoice, day, total and taxes in its prices. Line breaks, blanks, ligatures and look-alike forms of characters make
    no difference.
    """
    text = read_text(body)
    places = [place for place, character in enumerate(text) if not character.isspace()]
    squeezed = "".join([text[place] for place in places])
    return [
        f"the PDF does not say its {fact.name}: {fact.label} {fact.value}"
        for fact in collect_facts(content)
        if not _says(text, squeezed, places, fact)
    ]


def collect_facts(content: InvoiceContent) -> list[Fact]:
    """What must be found, from the content alone and not from what was laid out."""
    formatter = get_formatter(content.locale)
    texts = get_texts(get_language(content.locale))
    if content.document_kind == "receipt":
        return receipt.collect_facts(content, formatter, texts)
    if content.document_kind == "credit_note":
        return credit_note.collect_facts(content, formatter, texts)
    remaining = 0 if content.status == "void" else content.amount_remaining_minor
    facts = [
        Fact("number", texts["number"], make_printable(content.number)),
        Fact("account", texts["account"], str(content.account_id)),
        Fact("total", texts["total"], formatter.money(content.total_minor, content.currency)),
        Fact("amount due", texts["amount_due"], formatter.money(remaining, content.currency)),
    ]
    facts += collect_tax_facts(content, formatter, texts)
    if content.due_at and is_payable(content):
        facts.append(Fact("due date", texts["due_date"], formatter.date(content.due_at)))
    return facts


def read_text(body: bytes) -> str:
    """The text of every page, in the order in which it was drawn, with compatible characters made one (NFKC)."""
    return unicodedata.normalize("NFKC", "\n".join(read_pages(body)))


def read_pages(body: bytes) -> list[str]:
    """The text of each page as it stands in the file."""
    with PDFIUM:
        document = pypdfium2.PdfDocument(body)
        try:
            pages = []
            for page in document:
                text_page = page.get_textpage()
                pages.append(text_page.get_text_range())
                text_page.close()
                page.close()
        finally:
            document.close()
    return pages


def _says(text: str, squeezed: str, places: Sequence[int], fact: Fact) -> bool:
    """Whether the fact is there with any blanks between its characters, and not as a part of a longer number.

    `squeezed` is the text without its blanks, `places` is where each of its characters stands in the text. (A pattern
    of its own for each document would be compiled for each, which takes longer than reading the file.)
    """
    wanted = "".join(unicodedata.normalize("NFKC", fact.label + fact.value).split())
    found = squeezed.find(wanted)
    while found >= 0:
        first, end = places[found], places[found + len(wanted) - 1] + 1
        if not _ENDS_IN_NUMBER.search(text[max(first - 2, 0) : first]) and not _BEGINS_NUMBER.match(
            text, end
        ):
            return True
        found = squeezed.find(wanted, found + 1)
    return False
