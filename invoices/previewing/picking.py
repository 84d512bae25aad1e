"""Which documents show best what a template does: up to ten of different kinds, from what there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import Q, QuerySet

from billing_worker.core.rating import USAGE_TYPES
from invoices.content import InvoiceContent, load_content
from invoices.models import InvoiceDocument
from invoices.states import DocumentKind

WANTED: Final = 10
#: The newest documents that are looked at, and how many more of each rare kind.
NEWEST: Final = 150
OF_EACH: Final = 5
#: Longer documents are left out: one of 1,500 lines takes 5 seconds to print twice and 4 to compare.
MAX_LINES: Final = 3000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document with its content, and how many pages it was printed on (0: not printed yet)."""

    document: InvoiceDocument
    content: InvoiceContent

    @property
    def pages(self) -> int:
        return self.document.pdf_pages or 0

    def count(self, *kinds: str) -> int:
        return sum(line.kind in kinds for line in self.content.lines)

    @property
    def is_invoice(self) -> bool:
        return self.content.document_kind == "invoice"


@dataclass(frozen=True, slots=True)
class Pick:
    """A document that was picked, and what for."""

    document: InvoiceDocument
    why: str


Score = Callable[[Candidate], float]


def _has(test: Callable[[InvoiceContent], bool]) -> Score:
    return lambda candidate: float(candidate.is_invoice and test(candidate.content))


#: In the order in which they choose. The highest score above zero is taken, the newest of equals.
RULES: Final[Sequence[tuple[str, Score]]] = (
    ("most tiers", lambda one: one.count(*USAGE_TYPES) if one.is_invoice and one.pages <= 1 else 0),
    ("long", lambda one: one.pages if one.pages > 1 else 0),
    ("void", _has(lambda content: content.status == "void")),
    ("paid", _has(lambda content: content.status == "paid" and content.total_minor > 0)),
    ("Japanese, or another script", _has(lambda content: content.locale.startswith("ja"))),
    ("taxes in prices", _has(lambda content: content.has_inclusive_taxes)),
    ("another language", _has(lambda content: not content.locale.startswith(("en", "ja")))),
    ("taxes", _has(lambda content: content.total_tax_minor != 0 or content.tax_exempt != "none")),
    ("most managed services", lambda one: one.count("managed") if one.is_invoice else 0),
    ("credit note", lambda one: float(one.content.document_kind == "credit_note")),
    ("receipt", lambda one: float(one.content.document_kind == "receipt")),
    ("paid by transfer", _has(lambda content: content.collection_method == "send_invoice")),
    ("another currency", _has(lambda content: content.currency not in ("usd", "jpy"))),
    ("one page", lambda one: float(one.is_invoice and one.pages == 1 and one.content.status == "open")),
    ("nothing to pay", _has(lambda content: content.total_minor == 0)),
)


def pick_representatives(*, wanted: int = WANTED) -> list[Pick]:
    """Documents of as many kinds as there are, at most `wanted`: by rule first, then the newest others.

    Reads a few hundred rows however many there are. Documents of more than 3,000 lines are left out.
    """
    candidates = [
        Candidate(document, content)
        for document in _list_candidates()
        if len((content := load_content(document.content)).lines) <= MAX_LINES
    ]
    picks: list[Pick] = []
    picked: set[int] = set()
    for why, score in (*RULES, *[("newest", lambda one: 1.0)] * wanted):
        left = [one for one in candidates if one.document.pk not in picked and score(one) > 0]
        if left and len(picks) < wanted:
            best = max(left, key=lambda one: (score(one), one.document.pk))
            picks.append(Pick(best.document, why))
            picked.add(best.document.pk)
    return picks


def _list_candidates() -> list[InvoiceDocument]:
    """The newest documents, and the newest of each kind, language and currency that may be rare."""
    documents = InvoiceDocument.objects.select_related("account").order_by("-pk")
    found: dict[int, InvoiceDocument] = {document.pk: document for document in documents[:NEWEST]}
    rare: list[QuerySet[InvoiceDocument]] = [
        documents.filter(condition)
        for condition in (
            Q(pdf_pages__gt=1),
            Q(invoice__status="void"),
            Q(kind=DocumentKind.CREDIT_NOTE),
            Q(kind=DocumentKind.RECEIPT),
            Q(locale__startswith="ja"),
            ~Q(locale__startswith="en") & ~Q(locale__startswith="ja"),
            ~Q(currency__in=["usd", "jpy"]),
        )
    ]
    for queryset in rare:
        found |= {document.pk: document for document in queryset[:OF_EACH]}
    return list(found.values())
