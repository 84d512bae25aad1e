"""From content to the terms of EN 16931. Pure: the same content gives the same e-invoice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from billing_worker.core.money import get_exponent, round_half_up, to_major
from billing_worker.core.rating import USAGE_TYPES
from invoices.content import ContentLine, InvoiceContent
from invoices.einvoice.model import EInvoice, ELine, ETax
from invoices.formatting import get_formatter
from invoices.locales import get_language, get_texts
from invoices.papers.credit_note import describe_giving
from invoices.sections import UNITS_SHOWN, get_title, group_lines, name_tier
from invoices.taxes import Category, TaxGroup, get_basis, get_net_discount, group_taxes

#: Of a price in minor units. A billion units at a price that is off by half its last place are off by less than a cent.
MAX_PLACES: Final = 12
#: UNTDID 1001.
TYPE_CODES: Final[Mapping[str, str]] = {"invoice": "380", "credit_note": "381"}
#: UNTDID 4461: what a transfer, a SEPA transfer and an automatic charge by whatever method are.
TRANSFER: Final = "30"
SEPA_TRANSFER: Final = "58"
NOT_DEFINED: Final = "1"
#: BT-120 and BT-121 of the categories without tax. E has no general code: no exemption fits them all.
_REASONS: Final[Mapping[Category, tuple[str, str]]] = {
    "S": ("", ""),
    "Z": ("", ""),
    "E": ("tax_exempt_note", ""),
    "AE": ("reverse_charge_note", "VATEX-EU-AE"),
    "O": ("not_taxed_note", "VATEX-EU-O"),
}


def build_einvoice(content: InvoiceContent, *, preceding: tuple[str, date | None] | None = None) -> EInvoice:
    """The e-invoice of an invoice or a credit note. `preceding` names the invoice that a credit note corrects."""
    texts = get_texts(get_language(content.locale))
    groups = group_taxes(content)
    lines = tuple(_build_lines(content, groups, texts))
    allowance = sum(group.discount_minor for group in groups)
    payable = 0 if content.status == "void" else content.amount_remaining_minor

    def major(amount_minor: int) -> Decimal:
        return to_major(amount_minor, content.currency)

    is_transfer = content.collection_method == "send_invoice" and content.bank is not None
    return EInvoice(
        number=content.number,
        issued=_day(content.issued_at),
        type_code=TYPE_CODES[content.document_kind],
        currency=content.currency.upper(),
        notes=tuple(_build_notes(content, groups, texts)),
        seller=content.seller,
        buyer=content.buyer,
        buyer_number=str(content.account_id),
        start=min((line.start for line in lines), default=_day(content.period_start)),
        end=max((line.end for line in lines), default=_day(content.period_start)),
        lines=lines,
        taxes=tuple(_build_tax(content, group, texts) for group in groups),
        allowance_reason=texts["discount"],
        means_code=_choose_means(content) if is_transfer else NOT_DEFINED,
        means_text="" if is_transfer else texts["charged_automatically"],
        bank=content.bank if is_transfer else None,
        terms=_build_terms(content, texts),
        due=_day(content.due_at) if content.due_at else None,
        line_total=sum((line.net for line in lines), Decimal(0)),
        allowance_total=major(allowance),
        basis_total=major(content.total_minor - content.total_tax_minor),
        tax_total=major(content.total_tax_minor),
        grand_total=major(content.total_minor),
        prepaid=major(content.total_minor - payable),
        due_total=major(payable),
        preceding=preceding,
    )


def _build_lines(
    content: InvoiceContent, groups: Sequence[TaxGroup], texts: Mapping[str, str]
) -> Iterator[ELine]:
    tax_of = {line.id: group for group in groups for line in group.lines}
    formatter = get_formatter(content.locale)
    number = 0
    for section in group_lines(content):
        before = 0
        for line in section:
            number += 1
            is_usage = line.kind in USAGE_TYPES
            name = line.description or texts["monthly_fee"]
            note = ""
            if is_usage:
                name = get_title(line, texts)
                # A credit note takes back parts of tiers: where they began says nothing there.
                note = (
                    ""
                    if content.correction
                    else name_tier(before, line.quantity or 0, formatter, texts, is_only=len(section) == 1)
                )
                before += line.quantity or 0
            if line.account_id not in (None, content.account_id):
                owner = texts["for_account"].format(account=line.account_name or line.account_id)
                note = f"{note} · {owner}" if note else owner
            yield _build_line(content, line, number=number, name=name, note=note, tax=tax_of[line.id])


def _build_line(
    content: InvoiceContent,
    line: ContentLine,
    *,
    number: int,
    name: str,
    note: str,
    tax: TaxGroup,
) -> ELine:
    net = get_basis(line) + get_net_discount(line, tax.rate)
    quantity, price, base = _split_amount(line, net)
    return ELine(
        number=number,
        name=name,
        note=note,
        quantity=quantity,
        price=(price * base).scaleb(-get_exponent(content.currency)),
        base=base,
        net=to_major(net, content.currency),
        category=tax.category,
        rate=None if tax.category == "O" else tax.rate,
        start=_day(line.period_start),
        end=_last_day(line.period_start, line.period_end),
    )


def _split_amount(line: ContentLine, net_minor: int) -> tuple[Decimal, Decimal, int]:
    """Quantity, price in minor units per unit, and how many units the price is shown for; `net_minor` is without tax.

    A price is never negative (BR-27): a credit has a negative quantity. Where quantity times price is not the amount
    (a proration, a flat amount in a tier) the line is one piece at its amount.
    """
    quantity, price = line.quantity, line.unit_amount_decimal
    base = UNITS_SHOWN if line.kind in USAGE_TYPES else 1
    if quantity is None or price is None or round_half_up(quantity * price) != line.amount_minor:
        quantity, price = (1 if net_minor >= 0 else -1), Decimal(abs(net_minor))
    elif net_minor != line.amount_minor:
        price = _find_net_price(net_minor, quantity, base)
    if price < 0:
        quantity, price = -quantity, -price
    return Decimal(quantity), price, base


def _find_net_price(net_minor: int, quantity: int, base: int) -> Decimal:
    """The price of one unit without the tax in it: with the fewest places (of `base` units) that give the amount.

    The exact one seldom ends: 119.00 with 20 % are 99.1666..., and three of them are not three times 99.17.
    """
    exact = Decimal(net_minor) * base / quantity
    for places in range(MAX_PLACES):
        price = exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP) / base
        if round_half_up(price * quantity) == net_minor:
            return price
    return exact / base


def _build_tax(content: InvoiceContent, group: TaxGroup, texts: Mapping[str, str]) -> ETax:
    reason, code = _REASONS[group.category]
    return ETax(
        category=group.category,
        rate=None if group.category == "O" else group.rate,
        basis=to_major(group.basis_minor, content.currency),
        amount=to_major(group.tax_minor, content.currency),
        allowance=to_major(group.discount_minor, content.currency),
        reason=texts[reason] if reason else "",
        reason_code=code,
        line_count=len(group.lines),
    )


def _build_notes(
    content: InvoiceContent, groups: Sequence[TaxGroup], texts: Mapping[str, str]
) -> Iterator[str]:
    """What has no field of its own: a VAT id that BR-O-02 forbids in its own, a balance that was applied."""
    is_outside = any(group.category == "O" for group in groups)
    for tax_id in content.buyer.tax_ids:
        if is_outside or tax_id != content.buyer.vat_id:
            yield f"{texts['bill_to']}: {texts['tax_id']} {tax_id}"
    carried = content.amount_due_minor - content.total_minor + content.credited_minor
    if carried and content.status != "void":
        amount = get_formatter(content.locale).money(carried, content.currency)
        yield f"{texts['balance_applied']}: {amount}"


def _choose_means(content: InvoiceContent) -> str:
    return SEPA_TRANSFER if content.bank and content.bank.iban and content.currency == "eur" else TRANSFER


def _build_terms(content: InvoiceContent, texts: Mapping[str, str]) -> str:
    if content.correction:
        return describe_giving(content, texts)
    if content.amount_remaining_minor <= 0:
        return texts["paid_note"] if content.amount_paid_minor > 0 else texts["zero_note"]
    if content.collection_method == "send_invoice" and content.due_at:
        due = get_formatter(content.locale).date(content.due_at)
        return texts["pay_by_transfer"].format(date=due, number=content.number)
    return texts["charged_automatically"]


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def _last_day(start: datetime, end: datetime) -> date:
    """The last day of a half-open period; the day itself where no time passes."""
    return _day(max(start, end - timedelta(microseconds=1)))
