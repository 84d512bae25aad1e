"""The arithmetic that a document must pass before anything is rendered from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from billing_worker.core.money import format_minor
from invoices.content import InvoiceContent
from invoices.papers import credit_note, receipt
from invoices.papers.base import Mismatch
from invoices.papers.sums import list_totals

_SUMS: Final[Mapping[str, Callable[[InvoiceContent], list[tuple[str, int, int]]]]] = {
    "credit_note": credit_note.list_sums,
    "receipt": receipt.list_sums,
}


def find_mismatches(content: InvoiceContent) -> list[Mismatch]:
    """Every rule that the document breaks; empty when it may be rendered.

    lines = subtotal; lines + tax - discounts = total; paid + remaining = due (a void invoice has nothing remaining).
    Taxes in the prices are in the lines already: with any, only those on top are added, the lines' own must come to
    Stripe's, and the total without any tax must be Stripe's.
    """
    if content.document_kind in _SUMS:
        compared = [_compare(content, *sums) for sums in _SUMS[content.document_kind](content)]
        return [mismatch for mismatch in compared if mismatch is not None]
    lines = sum(line.amount_minor for line in content.lines)
    open_or_paid = content.amount_paid_minor + content.amount_remaining_minor
    found = [
        _compare(content, "lines = subtotal", lines, content.subtotal_minor),
        *(_compare(content, *sums) for sums in list_totals(content)),
    ]
    if content.status != "void" and content.amount_paid_minor <= content.amount_due_minor:
        found.append(_compare(content, "paid + remaining = due", open_or_paid, content.amount_due_minor))
    return [mismatch for mismatch in found if mismatch is not None]


def _compare(content: InvoiceContent, rule: str, ours: int, stripes: int) -> Mismatch | None:
    if ours == stripes:
        return None
    return Mismatch(
        rule=rule,
        expected_minor=ours,
        actual_minor=stripes,
        message=(
            f"{rule}: we add up {format_minor(ours, content.currency)}, "
            f"Stripe says {format_minor(stripes, content.currency)}, "
            f"a difference of {format_minor(stripes - ours, content.currency)}"
        ),
    )
