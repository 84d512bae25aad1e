"""Receipts: one payment, the invoice that it was for, and what of that is still open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from invoices.content import InvoiceContent, Payment
from invoices.formatting import Formatter
from invoices.papers.base import Fact, MailWords, Paper, Sum
from invoices.rendering.fonts import make_printable
from invoices.sections import Row, Section

#: Stripe's codes of card brands that are not written as they are spelled.
_BRANDS: Final = {
    "amex": "American Express",
    "diners": "Diners Club",
    "eftpos_au": "Eftpos",
    "jcb": "JCB",
    "mastercard": "Mastercard",
    "unionpay": "UnionPay",
}
#: Methods with a name in every language; others are written as Stripe calls them.
_NAMED: Final = {
    "": "method_unknown",
    "card": "method_card",
    "sepa_debit": "method_sepa_debit",
    "us_bank_account": "method_us_bank_account",
    "customer_balance": "method_customer_balance",
}


def lay_out(content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]) -> Paper:
    payment = get_payment(content)
    number = make_printable(content.number)
    method = make_printable(name_method(payment, texts))
    is_settled = content.amount_remaining_minor <= 0
    return Paper(
        texts={
            **texts,
            "quantity": texts["payment_date"],
            "unit_price": texts["payment_method"],
            "questions": texts["receipt_questions"],
        },
        running_title=texts["receipt_continued"].format(number=number),
        facts=[
            (texts["receipt_number"], number),
            (texts["number"], make_printable(payment.invoice_number)),
            (texts["payment_date"], formatter.date(payment.paid_at)),
            (texts["account"], str(content.account_id)),
        ],
        headline=formatter.money(payment.amount_minor, content.currency),
        headline_label=texts["amount_paid"],
        headline_note=texts["receipt_note" if is_settled else "receipt_part_note"],
        stamp=texts["paid_stamp"] if is_settled else "",
        stamp_class="paid" if is_settled else "",
        pay_url="",
        sections=[_build_section(content, payment, method, formatter, texts)],
        sums=_build_sums(content, payment, formatter, texts),
        show_remittance=False,
    )


def _build_section(
    content: InvoiceContent, payment: Payment, method: str, formatter: Formatter, texts: Mapping[str, str]
) -> Section:
    row = Row(
        description=texts["receipt_for"].format(
            number=make_printable(payment.invoice_number), date=formatter.date(payment.invoice_issued_at)
        ),
        quantity=formatter.short_date(payment.paid_at),
        unit_price=method,
        amount=formatter.money(payment.amount_minor, content.currency),
        amount_minor=payment.amount_minor,
    )
    return Section(title=texts["receipt_section"], note="", rows=[row])


def _build_sums(
    content: InvoiceContent, payment: Payment, formatter: Formatter, texts: Mapping[str, str]
) -> list[Sum]:
    def money(amount_minor: int) -> str:
        return formatter.money(amount_minor, content.currency)

    sums = [Sum(label=texts["receipt_invoice_total"], amount=money(payment.invoice_total_minor))]
    if payment.invoice_tax_minor:
        sums.append(Sum(label=texts["tax_included"], amount=money(payment.invoice_tax_minor)))
    carried = content.amount_due_minor - payment.invoice_total_minor
    if carried:
        sums.append(Sum(label=texts["balance_applied"], amount=money(carried)))
    if payment.paid_before_minor:
        sums.append(Sum(label=texts["receipt_before"], amount=money(-payment.paid_before_minor)))
    return [
        *sums,
        Sum(label=texts["amount_paid"], amount=money(payment.amount_minor), is_strong=True),
        Sum(label=texts["receipt_remaining"], amount=money(content.amount_remaining_minor)),
    ]


def name_method(payment: Payment, texts: Mapping[str, str]) -> str:
    """`Visa •••• 4242`, `SEPA Direct Debit •••• 3000`, or Stripe's own word for a method that has no name here."""
    if payment.brand:
        name = _BRANDS.get(payment.brand, payment.brand.replace("_", " ").title())
    elif payment.method in _NAMED:
        name = texts[_NAMED[payment.method]]
    else:
        name = payment.method.replace("_", " ").capitalize()
    return f"{name} •••• {payment.last4}" if payment.last4 else name


def collect_facts(content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]) -> list[Fact]:
    payment = get_payment(content)
    return [
        Fact("number", texts["receipt_number"], make_printable(content.number)),
        Fact("invoice number", texts["number"], make_printable(payment.invoice_number)),
        Fact("payment date", texts["payment_date"], formatter.date(payment.paid_at)),
        Fact("account", texts["account"], str(content.account_id)),
        Fact("amount", texts["amount_paid"], formatter.money(payment.amount_minor, content.currency)),
        Fact(
            "remainder",
            texts["receipt_remaining"],
            formatter.money(content.amount_remaining_minor, content.currency),
        ),
    ]


def write_mail(content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]) -> MailWords:
    payment = get_payment(content)
    amount = formatter.money(payment.amount_minor, content.currency)
    facts = [
        (texts["receipt_number"], content.number),
        (texts["number"], payment.invoice_number),
        (texts["payment_date"], formatter.date(payment.paid_at)),
        (texts["payment_method"], name_method(payment, texts)),
        (texts["amount_paid"], amount),
        (texts["account"], f"{content.buyer.name} ({content.account_id})"),
    ]
    if content.amount_remaining_minor > 0:
        remaining = formatter.money(content.amount_remaining_minor, content.currency)
        facts.insert(5, (texts["receipt_remaining"], remaining))
    return MailWords(
        subject=texts["receipt_mail_subject"].format(
            number=content.number, invoice=payment.invoice_number, brand=content.seller.name, amount=amount
        ),
        intro=texts["receipt_mail_intro"].format(invoice=payment.invoice_number, amount=amount),
        amount_note=texts["receipt_mail_note"],
        facts=tuple(facts),
    )


def list_sums(content: InvoiceContent) -> list[tuple[str, int, int]]:
    """What must come out: rule, our sum, Stripe's."""
    payment = get_payment(content)
    settled = payment.paid_before_minor + payment.amount_minor + content.amount_remaining_minor
    return [
        ("payments + remaining = due", settled, content.amount_due_minor),
        ("receipt = payment", content.total_minor, payment.amount_minor),
        # What Stripe says of the whole invoice may hold money from outside of Stripe too, so it is no less.
        (
            "payments up to this one are no more than Stripe says was paid",
            min(payment.paid_before_minor + payment.amount_minor, content.amount_paid_minor),
            payment.paid_before_minor + payment.amount_minor,
        ),
    ]


def get_payment(content: InvoiceContent) -> Payment:
    """The payment that a receipt is for.

    Raises:
        ValueError: it is no receipt.
    """
    if content.payment is None:
        raise ValueError(f"{content.number} is no receipt")
    return content.payment
