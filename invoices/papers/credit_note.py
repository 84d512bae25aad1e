"""Credit notes: what is taken back of which invoice, why, and how it reaches the customer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from billing_worker.core.money import round_half_up
from billing_worker.core.rating import USAGE_TYPES
from invoices.content import ContentLine, Correction, InvoiceContent
from invoices.formatting import Formatter
from invoices.papers.base import Fact, MailWords, Paper, Sum
from invoices.papers.sums import (
    build_included_taxes,
    build_tax_table,
    build_taxes,
    collect_tax_facts,
    list_totals,
    name_subtotal,
    tell_included_tax,
)
from invoices.rendering.fonts import make_printable
from invoices.sections import UNITS_SHOWN, Row, Section, find_common_tax, get_title, group_lines
from invoices.taxes import describe_line_taxes

#: Stripe's reasons. https://docs.stripe.com/api/credit_notes/object
_REASONS: Final = {
    "duplicate": "reason_duplicate",
    "fraudulent": "reason_fraudulent",
    "order_change": "reason_order_change",
    "product_unsatisfactory": "reason_product_unsatisfactory",
}


def lay_out(content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]) -> Paper:
    number = make_printable(content.number)
    is_void = content.status == "void"
    taxes = describe_line_taxes(content, formatter, texts)
    return Paper(
        texts={**texts, "questions": texts["credit_questions"]},
        running_title=texts["credit_continued"].format(number=number),
        facts=[(label, make_printable(value)) for label, value in _list_facts(content, formatter, texts)],
        headline=formatter.money(content.total_minor, content.currency),
        headline_label=texts["credit_total"],
        headline_note=make_printable(_build_note(content, texts)),
        stamp=texts["credit_void_stamp"] if is_void else "",
        stamp_class="void" if is_void else "",
        pay_url="",
        sections=[_build_section(content, lines, formatter, texts, taxes) for lines in group_lines(content)],
        sums=_build_sums(content, formatter, texts),
        show_remittance=False,
        taxes=build_tax_table(content, formatter, texts),
    )


def _list_facts(
    content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    correction = get_correction(content)
    yield texts["credit_number"], content.number
    yield texts["number"], correction.invoice_number
    yield texts["credit_date"], formatter.date(content.issued_at)
    if content.voided_at and content.status == "void":
        yield texts["credit_voided_date"], formatter.date(content.voided_at)
    if correction.reason in _REASONS:
        yield texts["credit_reason"], texts[_REASONS[correction.reason]]
    yield texts["account"], str(content.account_id)


def _build_note(content: InvoiceContent, texts: Mapping[str, str]) -> str:
    """The memo that was written for the customer, and how the amount is given."""
    correction = get_correction(content)
    return " ".join(
        part for part in (_end_sentence(correction.memo), describe_giving(content, texts)) if part
    )


def _end_sentence(text: str) -> str:
    return text if not text or text.endswith((".", "!", "?", "。", "…")) else f"{text}."


def describe_giving(content: InvoiceContent, texts: Mapping[str, str]) -> str:
    """In words: deducted from what is due, refunded, on the balance, or otherwise; a void one gives nothing."""
    if content.status == "void":
        return texts["credit_void_note"]
    correction = get_correction(content)
    ways = (
        (correction.deducted_minor, "credit_deducted_note"),
        (correction.refunded_minor, "credit_refunded_note"),
        (correction.balance_minor, "credit_balance_note"),
        (correction.out_of_band_minor, "credit_out_of_band_note"),
    )
    number = correction.invoice_number
    return " ".join(texts[key].format(number=number) for amount, key in ways if amount)


def _build_section(
    content: InvoiceContent,
    lines: Sequence[ContentLine],
    formatter: Formatter,
    texts: Mapping[str, str],
    taxes: Mapping[str, str],
) -> Section:
    first = lines[0]
    title = get_title(first, texts)
    has_period = first.kind not in ("managed", "custom")
    has_total = len(lines) > 1
    common = find_common_tax(lines, taxes)
    period = formatter.days(first.period_start, first.period_end) if has_period else ""
    own = {} if common else taxes
    return Section(
        title=title,
        note=" · ".join(part for part in (period, common) if part),
        unit_note=texts["per_thousand"] if first.kind in USAGE_TYPES else "",
        rows=[_build_row(content, line, formatter, texts, own.get(line.id, "")) for line in lines],
        total_label=texts["section_total"].format(section=title) if has_total else "",
        total=formatter.money(sum(line.amount_minor for line in lines), content.currency)
        if has_total
        else "",
    )


def _build_row(
    content: InvoiceContent, line: ContentLine, formatter: Formatter, texts: Mapping[str, str], tax: str
) -> Row:
    """Quantity and price are shown where they explain the amount: a part of a line is credited by its amount."""
    is_usage = line.kind in USAGE_TYPES
    quantity, price = line.quantity, line.unit_amount_decimal
    is_whole = (
        quantity is not None and price is not None and round_half_up(quantity * price) == line.amount_minor
    )
    units = UNITS_SHOWN if is_usage else 1
    details = []
    if line.account_id not in (None, content.account_id):
        owner = make_printable(line.account_name) or str(line.account_id)
        details.append(texts["for_account"].format(account=owner))
    if line.kind == "managed":
        details.append(formatter.days(line.period_start, line.period_end))
    if tax:
        details.append(tax)
    fallback = {"sub": texts["monthly_fee"], "custom": texts["credit_line"], "managed": texts["credit_line"]}
    return Row(
        description=make_printable(line.description) or fallback.get(line.kind, texts["credit_usage"]),
        detail=" · ".join(details),
        quantity=formatter.number(quantity) if is_whole and quantity is not None else "",
        unit_price=formatter.unit_price(price, content.currency, units=units)
        if is_whole and price is not None
        else "",
        amount=formatter.money(line.amount_minor, content.currency),
        amount_minor=line.amount_minor,
    )


def _build_sums(content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]) -> list[Sum]:
    def money(amount_minor: int) -> str:
        return formatter.money(amount_minor, content.currency)

    correction = get_correction(content)
    sums = [Sum(label=name_subtotal(content, texts), amount=money(content.subtotal_minor))]
    if content.total_discount_minor:
        sums.append(Sum(label=texts["discount"], amount=money(-content.total_discount_minor)))
    sums += build_taxes(content, formatter, texts)
    sums.append(Sum(label=texts["credit_total"], amount=money(content.total_minor), is_strong=True))
    sums += build_included_taxes(content, formatter, texts)
    ways = (
        (correction.deducted_minor, "credit_deducted"),
        (correction.refunded_minor, "credit_refunded"),
        (correction.balance_minor, "credit_balance"),
        (correction.out_of_band_minor, "credit_out_of_band"),
    )
    return [*sums, *(Sum(label=texts[key], amount=money(amount)) for amount, key in ways if amount)]


def collect_facts(content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]) -> list[Fact]:
    correction = get_correction(content)
    return [
        Fact("number", texts["credit_number"], make_printable(content.number)),
        Fact("invoice number", texts["number"], make_printable(correction.invoice_number)),
        Fact("date", texts["credit_date"], formatter.date(content.issued_at)),
        Fact("account", texts["account"], str(content.account_id)),
        Fact("total", texts["credit_total"], formatter.money(content.total_minor, content.currency)),
        *collect_tax_facts(content, formatter, texts),
    ]


def write_mail(content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]) -> MailWords:
    correction = get_correction(content)
    total = formatter.money(content.total_minor, content.currency)
    facts = [
        *_list_facts(content, formatter, texts),
        (texts["credit_total"], total),
    ]
    facts[-2] = (texts["account"], f"{content.buyer.name} ({content.account_id})")
    facts += tell_included_tax(content, formatter, texts)
    return MailWords(
        subject=texts["credit_mail_subject"].format(
            number=content.number, brand=content.seller.name, amount=total
        ),
        intro=texts["credit_mail_intro"].format(number=content.number, invoice=correction.invoice_number),
        amount_note=_build_note(content, texts),
        facts=tuple(facts),
    )


def list_sums(content: InvoiceContent) -> list[tuple[str, int, int]]:
    """What must come out: rule, our sum, Stripe's."""
    correction = get_correction(content)
    given = (
        correction.deducted_minor
        + correction.refunded_minor
        + correction.balance_minor
        + correction.out_of_band_minor
    )
    return [
        *list_totals(content),
        ("deducted + refunded + balance + otherwise = total", given, content.total_minor),
        (
            "no less than nothing is credited to the balance",
            max(correction.balance_minor, 0),
            correction.balance_minor,
        ),
    ]


def get_correction(content: InvoiceContent) -> Correction:
    """What a credit note corrects.

    Raises:
        ValueError: it is no credit note.
    """
    if content.correction is None:
        raise ValueError(f"{content.number} is no credit note")
    return content.correction
