"""From content to page: sections, rows and sums as the texts that the template prints.

The template decides nothing: what is shown, in which order and in which words is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from invoices.carrying import carry_sums
from invoices.content import InvoiceContent, Party
from invoices.formatting import Formatter, get_formatter
from invoices.locales import get_language, get_texts
from invoices.papers import credit_note, receipt
from invoices.papers.base import Paper, Sum, TaxRow
from invoices.papers.sums import build_included_taxes, build_tax_table, build_taxes, name_subtotal
from invoices.rendering.fonts import make_printable
from invoices.sections import Section, build_sections
from invoices.usage_chart import UsageChart, build_usage_chart


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything that the template prints."""

    language: str
    texts: Mapping[str, str]
    title: str
    number: str
    running_title: str
    currency: str
    facts: Sequence[tuple[str, str]]
    seller: Party
    buyer: Party
    seller_ids: Sequence[str]
    buyer_ids: Sequence[str]
    headline: str
    headline_label: str
    headline_note: str
    stamp: str
    stamp_class: str
    pay_url: str
    sections: Sequence[Section]
    sums: Sequence[Sum]
    taxes: Sequence[TaxRow]
    show_remittance: bool
    created: str
    chart: UsageChart | None


def build_page(content: InvoiceContent) -> Page:
    """Lay a checked document out in its locale. Pure: the same content gives the same page."""
    formatter = get_formatter(content.locale)
    texts = get_texts(get_language(content.locale))
    paper = _PAPERS[content.document_kind](content, formatter, texts)
    return Page(
        language=get_language(content.locale),
        texts=paper.texts,
        title=texts[content.document_kind],
        number=make_printable(content.number),
        running_title=paper.running_title,
        currency=content.currency.upper(),
        facts=paper.facts,
        seller=_print_party(content.seller),
        buyer=_print_party(content.buyer),
        seller_ids=_list_tax_ids(content.seller, texts),
        buyer_ids=_list_tax_ids(content.buyer, texts),
        headline=paper.headline,
        headline_label=paper.headline_label,
        headline_note=paper.headline_note,
        stamp=paper.stamp,
        stamp_class=paper.stamp_class,
        pay_url=paper.pay_url,
        sections=carry_sums(
            paper.sections, currency=content.currency, formatter=formatter, texts=paper.texts
        ),
        sums=paper.sums,
        taxes=paper.taxes,
        show_remittance=paper.show_remittance,
        created=content.issued_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        chart=build_usage_chart(content, formatter, texts),
    )


def _lay_out_invoice(content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]) -> Paper:
    stamp, stamp_class = _build_stamp(content, texts)
    label, headline = _build_headline(content, formatter, texts)
    return Paper(
        texts=texts,
        running_title=texts["continued"].format(number=make_printable(content.number)),
        facts=_build_facts(content, formatter, texts),
        headline=headline,
        headline_label=label,
        headline_note=_build_note(content, formatter, texts),
        stamp=stamp,
        stamp_class=stamp_class,
        pay_url=content.hosted_invoice_url if is_payable(content) else "",
        sections=build_sections(content, formatter, texts),
        sums=_build_sums(content, formatter, texts),
        show_remittance=is_payable(content) and content.collection_method == "send_invoice",
        taxes=build_tax_table(content, formatter, texts),
    )


_PAPERS: Final[Mapping[str, Callable[[InvoiceContent, Formatter, Mapping[str, str]], Paper]]] = {
    "invoice": _lay_out_invoice,
    "credit_note": credit_note.lay_out,
    "receipt": receipt.lay_out,
}


def is_payable(content: InvoiceContent) -> bool:
    return content.status == "open" and content.amount_remaining_minor > 0


def _print_party(party: Party) -> Party:
    return Party(
        name=make_printable(party.name),
        address=tuple(make_printable(line) for line in party.address),
        country=party.country,
        email=make_printable(party.email),
        tax_ids=tuple(make_printable(tax_id) for tax_id in party.tax_ids),
    )


def _list_tax_ids(party: Party, texts: Mapping[str, str]) -> list[str]:
    """A party's tax ids, each with what it is unless it says so itself: `US EIN 00-0000000`, `VAT ID DE123456789`."""
    labels = [
        "" if " " in one else texts["vat_id" if one == party.vat_id else "tax_id"] for one in party.tax_ids
    ]
    return [
        f"{label} {make_printable(one)}".strip() for label, one in zip(labels, party.tax_ids, strict=True)
    ]


def _build_stamp(content: InvoiceContent, texts: Mapping[str, str]) -> tuple[str, str]:
    if content.status == "void":
        return texts["void_stamp"], "void"
    if content.status == "paid" and content.total_minor > 0:
        return texts["paid_stamp"], "paid"
    return "", ""


def _build_headline(
    content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]
) -> tuple[str, str]:
    if content.status == "paid" and content.amount_paid_minor > 0:
        return texts["amount_paid"], formatter.money(content.amount_paid_minor, content.currency)
    amount = 0 if content.status == "void" else content.amount_remaining_minor
    return texts["amount_due"], formatter.money(amount, content.currency)


def _build_note(content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]) -> str:
    if content.status == "void":
        return texts["void_note"]
    if content.status == "paid":
        return texts["paid_note" if content.amount_paid_minor > 0 else "zero_note"]
    if content.amount_remaining_minor <= 0:
        return texts["zero_note"]
    if content.collection_method == "send_invoice" and content.due_at:
        return texts["pay_by_transfer"].format(
            date=formatter.date(content.due_at), number=make_printable(content.number)
        )
    return texts["charged_automatically"]


def _build_facts(
    content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]
) -> list[tuple[str, str]]:
    facts = [
        (texts["number"], make_printable(content.number)),
        (texts["issue_date"], formatter.date(content.issued_at)),
    ]
    if content.due_at and is_payable(content):
        facts.append((texts["due_date"], formatter.date(content.due_at)))
    if content.paid_at and content.status == "paid":
        facts.append((texts["paid_date"], formatter.date(content.paid_at)))
    if content.voided_at and content.status == "void":
        facts.append((texts["voided_date"], formatter.date(content.voided_at)))
    facts.append((texts["account"], str(content.account_id)))
    return facts


def _build_sums(content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]) -> list[Sum]:
    def money(amount_minor: int) -> str:
        return formatter.money(amount_minor, content.currency)

    sums = [Sum(label=name_subtotal(content, texts), amount=money(content.subtotal_minor))]
    if content.total_discount_minor:
        sums.append(Sum(label=texts["discount"], amount=money(-content.total_discount_minor)))
    sums += build_taxes(content, formatter, texts)
    sums.append(Sum(label=texts["total"], amount=money(content.total_minor), is_strong=True))
    sums += build_included_taxes(content, formatter, texts)
    if content.credited_minor:
        sums.append(Sum(label=texts["credit_notes"], amount=money(-content.credited_minor)))
    carried = content.amount_due_minor - content.total_minor + content.credited_minor
    if carried:
        label = (
            "carried_forward" if content.amount_due_minor == 0 < content.total_minor else "balance_applied"
        )
        sums.append(Sum(label=texts[label], amount=money(carried)))
    if content.amount_paid_minor:
        sums.append(Sum(label=texts["amount_paid"], amount=money(-content.amount_paid_minor)))
    remaining = 0 if content.status == "void" else content.amount_remaining_minor
    sums.append(Sum(label=texts["amount_due"], amount=money(remaining), is_strong=True))
    return sums
