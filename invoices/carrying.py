"""What a long table has added up to where a page ends: carried forward there, brought forward on the next page.

Where pages end is known to the layout alone. So each row says both sums that could be needed at it, and the style
sheet prints those of the first and the last row of a page in the page's margins (`string-set`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from invoices.formatting import Formatter
from invoices.sections import Row, Section


def carry_sums(
    sections: Sequence[Section], *, currency: str, formatter: Formatter, texts: Mapping[str, str]
) -> list[Section]:
    """The sections with what is printed before and after each row, if a page begins or ends there.

    Sums are exact minor units over all sections in reading order, before discounts and taxes, like the amounts beside
    them. Nothing is brought forward to the first row and nothing carried forward from the last. A row that is not the
    first of its section says which one goes on. The last two rows stay with their section's total.
    """
    left = sum(len(section.rows) for section in sections)
    total = 0
    amount = ""
    carried_sections = []
    for section in sections:
        rows: list[Row] = []
        staying = len(section.rows) - 2 if section.total else len(section.rows)
        title = " · ".join(part for part in (section.title, section.note) if part)
        continued = texts["section_continued"].format(section=title)
        for position, row in enumerate(section.rows):
            left -= 1
            total += row.amount_minor
            brought = texts["brought_forward"].format(amount=amount) if amount else ""
            amount = formatter.money(total, currency) if left else ""
            carried = texts["sum_carried_forward"].format(amount=amount) if left else ""
            rows.append(
                replace(
                    row,
                    continued=continued if position else "",
                    brought=brought,
                    carried=carried,
                    stays=position >= staying,
                )
            )
        carried_sections.append(replace(section, rows=rows))
    return carried_sections
