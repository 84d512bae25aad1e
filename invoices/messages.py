"""The e-mail that carries a document: HTML and text in the customer's language, the PDF attached."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formataddr
from typing import Any, Final

from django.conf import settings
from django.core.mail import EmailMultiAlternatives

from invoices.brand import get_brand
from invoices.content import InvoiceContent
from invoices.formatting import Formatter, get_formatter
from invoices.layout import is_payable
from invoices.locales import get_language, get_texts
from invoices.models import InvoiceMail
from invoices.papers import credit_note, receipt
from invoices.papers.base import MailWords
from invoices.papers.sums import tell_included_tax
from invoices.templating import fill_template

_NOT_IN_FILE_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]+")
MAX_SUBJECT: Final = 200


@dataclass(frozen=True, slots=True)
class MailTexts:
    """Everything that a mail says, in one language."""

    language: str
    subject: str
    greeting: str
    intro: str
    amount_note: str
    facts: tuple[tuple[str, str], ...]
    pay_url: str
    pay_label: str
    closing: str
    footer: str
    brand: str


def build_texts(content: InvoiceContent) -> MailTexts:
    """The words of the mail for a document. Pure."""
    texts = get_texts(get_language(content.locale))
    formatter = get_formatter(content.locale)
    words = _WORDS[content.document_kind](content, formatter, texts)
    return MailTexts(
        language=get_language(content.locale),
        subject=words.subject[:MAX_SUBJECT],
        greeting=texts["mail_greeting"].format(name=content.buyer.name),
        intro=words.intro,
        amount_note=words.amount_note,
        facts=words.facts,
        pay_url=words.pay_url,
        pay_label=texts["mail_pay"],
        closing=texts["mail_closing"],
        footer=texts["mail_footer"].format(account=content.account_id, email=content.seller.email),
        brand=content.seller.name,
    )


def _write_invoice_mail(content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]) -> MailWords:
    total = formatter.money(content.total_minor, content.currency)
    issued = formatter.date(content.issued_at)
    subject = texts[
        "mail_subject_paid" if content.status == "paid" and content.total_minor else "mail_subject"
    ]
    facts = [
        (texts["number"], content.number),
        (texts["issue_date"], issued),
        (texts["total"], total),
        (texts["account"], f"{content.buyer.name} ({content.account_id})"),
    ]
    facts[3:3] = tell_included_tax(content, formatter, texts)
    if is_payable(content):
        remaining = formatter.money(content.amount_remaining_minor, content.currency)
        facts.insert(-1, (texts["amount_due"], remaining))
        if content.due_at:
            facts.insert(-1, (texts["due_date"], formatter.date(content.due_at)))
    return MailWords(
        subject=subject.format(number=content.number, brand=content.seller.name, amount=total),
        intro=texts["mail_intro"].format(number=content.number, date=issued),
        amount_note=_build_amount_note(content),
        facts=tuple(facts),
        pay_url=content.hosted_invoice_url if is_payable(content) else "",
    )


_WORDS: Final[Mapping[str, Callable[[InvoiceContent, Formatter, Mapping[str, str]], MailWords]]] = {
    "invoice": _write_invoice_mail,
    "credit_note": credit_note.write_mail,
    "receipt": receipt.write_mail,
}


def _build_amount_note(content: InvoiceContent) -> str:
    texts = get_texts(get_language(content.locale))
    formatter = get_formatter(content.locale)
    if content.status == "void":
        return texts["void_note"]
    if content.amount_due_minor <= 0:
        return texts["mail_zero"]
    if content.status == "paid":
        return texts["mail_paid"].format(amount=formatter.money(content.amount_paid_minor, content.currency))
    remaining = formatter.money(content.amount_remaining_minor, content.currency)
    if content.collection_method == "send_invoice" and content.due_at:
        return texts["mail_due"].format(amount=remaining, date=formatter.date(content.due_at))
    return texts["mail_automatic"].format(amount=remaining)


def build_message(mail: InvoiceMail, content: InvoiceContent, pdf: bytes) -> EmailMultiAlternatives:
    """The message as the mail backend takes it. Anymail sends the metadata and the tag along; others ignore them."""
    texts = build_texts(content)
    brand = get_brand()
    context: dict[str, Any] = {"mail": texts, "accent": brand.accent, "accent_soft": brand.accent_soft}
    message = EmailMultiAlternatives(
        subject=mail.subject,
        body=fill_template("invoices/mail/invoice.txt", context),
        from_email=formataddr((texts.brand, settings.ENV.BILLING_FROM_ADDRESS)),
        to=mail.to,
        cc=mail.cc,
        bcc=mail.bcc,
        reply_to=[brand.email],
        headers={"Message-ID": f"<{mail.message_id}>", "Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(fill_template("invoices/mail/invoice.html", context), "text/html")
    message.attach(make_file_name(content.number), pdf, "application/pdf")
    for name, value in (
        ("metadata", {"document": str(mail.document.uuid), "mail": str(mail.pk)}),
        ("tags", [content.document_kind]),
        ("track_opens", False),
        ("track_clicks", False),
    ):
        setattr(message, name, value)
    return message


def make_file_name(number: str) -> str:
    """A file name that every mail program and disk takes, from Stripe's number."""
    return f"{_NOT_IN_FILE_NAMES.sub('-', number).strip('-.')[:80] or 'invoice'}.pdf"
