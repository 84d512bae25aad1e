"""What the page of a document in the console shows, gathered for one person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.db.models import QuerySet
from django.urls import reverse

from billing_worker.core.money import format_minor
from invoices.addresses import split_addresses
from invoices.credits import tell_credits
from invoices.models import InvoiceDocument, InvoiceMail, ManagedCharge
from invoices.services.mails import list_other_contacts
from invoices.services.timeline import compile_timeline, measure_steps
from invoices.states import DocumentKind, DocumentState, MailState

MAIL_TONES: Final[dict[str, str]] = {
    MailState.SENT: "success",
    MailState.DELIVERED: "success",
    MailState.QUEUED: "info",
    MailState.SENDING: "info",
    MailState.DEFERRED: "warning",
    MailState.UNKNOWN: "warning",
    MailState.REFUSED: "warning",
    MailState.BOUNCED: "danger",
    MailState.COMPLAINED: "danger",
    MailState.FAILED: "danger",
}
#: How many lines are shown: more are in the PDF.
LINES_SHOWN: Final = 60
_STATUS_TONES: Final = {"paid": "success", "open": "info", "uncollectible": "danger", "void": "warning"}


@dataclass(frozen=True, slots=True)
class Link:
    """Where else there is something about a document. `tone` is danger where that needs somebody."""

    title: str
    url: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class ShownLine:
    """One line of the document, with the managed charge that it came from."""

    description: str
    quantity: str
    amount: str
    charge_url: str = ""


#: Floors above add what they know of a document: its cohort, its drift.
_providers: list[Callable[[InvoiceDocument], list[Link]]] = []


def add_links(provider: Callable[[InvoiceDocument], list[Link]]) -> None:
    """Ask this function for links on every document's page."""
    if provider not in _providers:
        _providers.append(provider)


def build_document_page(document: InvoiceDocument, user: Any) -> dict[str, Any]:
    """The context of the page; the number of statements does not depend on how much has happened."""
    invoice = document.invoice
    revisions = list(_select_revisions(document).order_by("revision").defer("content"))
    stored = [one for one in revisions if one.state == DocumentState.STORED]
    successor = next((one for one in reversed(stored) if one.revision > document.revision), None)
    mails = list(document.mails.order_by("-sequence"))
    newest = mails[0] if mails else None
    contacts = _list_contacts(document)
    status = str(document.content.get("status", "")) if document.subject else invoice.status
    return {
        "document": document,
        "facts": _list_facts(document),
        "links": [link for provider in (_list_links, *_providers) for link in provider(document)],
        "status": status,
        "status_tone": _STATUS_TONES.get(status, ""),
        "blocked_lines": document.blocked_reason.splitlines(),
        "newest_mail": newest,
        "mail_tone": MAIL_TONES.get(newest.state, "") if newest else "",
        "seen_sequence": newest.sequence if newest else -1,
        "timeline": measure_steps(compile_timeline(invoice, subject=document.subject)),
        "stripe_url": make_stripe_url(document),
        "attempts": _tell_attempts(document),
        "credits": tell_credits(invoice),
        "superseded_by": successor,
        "lacks_paid": _lacks_paid(document),
        "revisions": revisions,
        "others": _select_others(document),
        "open_mails": [mail for mail in mails if mail.state in (MailState.UNKNOWN, MailState.FAILED)],
        "lost_mails": _find_lost_mails(newest),
        "unmailed": _tell_unmailed(document, newest, successor),
        "contacts": ", ".join(contacts),
        "lines": _list_lines(document),
        "lines_left": max(0, len(document.content.get("lines", [])) - LINES_SHOWN),
        "can_revise": user.has_perm("invoices.rerender_invoicedocument"),
        "can_resend": user.has_perm("invoices.resend_invoicemail"),
    }


def make_stripe_url(document: InvoiceDocument) -> str:
    """The invoice in Stripe's dashboard; empty with the sandbox, which has none."""
    env = settings.ENV
    if env.uses_sandbox:
        return ""
    mode = "" if env.has_live_key else "test/"
    return f"https://dashboard.stripe.com/{mode}invoices/{document.invoice.stripe_invoice_id}"


def _list_contacts(document: InvoiceDocument) -> list[str]:
    account = document.account
    return [*split_addresses(account.billing_email), *split_addresses(account.billing_cc)]


def _list_facts(document: InvoiceDocument) -> list[tuple[str, str]]:
    """Amounts as Stripe has them now, and which print this is."""
    invoice, currency = document.invoice, document.currency
    is_credit = document.kind == DocumentKind.CREDIT_NOTE
    total = -document.total_minor if is_credit else document.total_minor
    facts = [("Total", format_minor(total, currency))]
    if inside := document.content.get("inclusive_tax_minor"):
        facts.append(("Tax in its prices", format_minor(inside, currency)))
    if document.kind == DocumentKind.INVOICE:
        is_void = invoice.status == "void"
        facts.append(("Paid", format_minor(invoice.amount_paid_minor, currency)))
        facts.append(
            (
                "Remaining",
                "nothing: void" if is_void else format_minor(invoice.amount_remaining_minor, currency),
            )
        )
        if invoice.due_at and invoice.amount_remaining_minor and not is_void:
            facts.append(("Due", f"{invoice.due_at:%Y-%m-%d}"))
    facts.append(("Month", document.period))
    facts.append(("Revision", f"{document.revision}, template {document.template_version}"))
    facts.append(("Language", document.locale))
    return facts


def _list_links(document: InvoiceDocument) -> list[Link]:
    account = document.account_id
    documents = reverse("admin:invoices_invoicedocument_changelist")
    return [
        Link("All documents of the account", f"{documents}?account__id__exact={account}"),
        Link(
            f"Usage and bill of {document.period}",
            f"{reverse('admin:metering_usagefeed_month', args=[account])}?period={document.period}",
        ),
        Link("Lines as Stripe has them", reverse("admin:mirror_stripeinvoice_change", args=[document.invoice_id])),
    ]  # fmt: skip


def _tell_attempts(document: InvoiceDocument) -> list[tuple[Any, str, str]]:
    """The invoice's payment attempts, oldest first, each with its amount and why it was declined."""
    if document.kind != DocumentKind.INVOICE:
        return []
    told = []
    for attempt in document.invoice.payment_attempts.all():
        reason = (attempt.decline_reason or attempt.failure_code).replace("_", " ")
        words = ": ".join(part for part in (reason.capitalize(), attempt.failure_message) if part)
        told.append((attempt, format_minor(attempt.amount_minor, attempt.currency), words))
    return told


def _select_revisions(document: InvoiceDocument) -> QuerySet[InvoiceDocument]:
    """All revisions about the same thing: the invoice, or one payment or credit note of it."""
    return InvoiceDocument.objects.filter(
        invoice=document.invoice_id, kind=document.kind, subject=document.subject
    )


def _lacks_paid(document: InvoiceDocument) -> bool:
    """Whether the invoice was paid and no revision says so."""
    if document.kind != DocumentKind.INVOICE or document.invoice.status != "paid":
        return False
    return not _select_revisions(document).filter(content__status="paid").exists()


def _select_others(document: InvoiceDocument) -> list[tuple[InvoiceDocument, str]]:
    """What else was made about the invoice, the newest revision of each, oldest subject first.

    Not the credit notes, on the page of the invoice: those stand in a panel of their own.
    """
    found: dict[tuple[str, str], InvoiceDocument] = {}
    everything = InvoiceDocument.objects.filter(invoice=document.invoice_id).defer("content")
    for other in everything.order_by("revision", "pk"):
        if (other.kind, other.subject) != (document.kind, document.subject):
            found[other.kind, other.subject] = other
    return [
        (other, format_minor(other.total_minor, other.currency))
        for other in found.values()
        if document.subject or other.kind != DocumentKind.CREDIT_NOTE
    ]


def _find_lost_mails(newest: InvoiceMail | None) -> list[tuple[InvoiceMail, list[str]]]:
    """The newest mail of a document if it did not arrive, with whom else to send it to."""
    lost = (MailState.BOUNCED, MailState.COMPLAINED, MailState.FAILED, MailState.REFUSED)
    return [(newest, list_other_contacts(newest))] if newest and newest.state in lost else []


def _tell_unmailed(
    document: InvoiceDocument, newest: InvoiceMail | None, successor: InvoiceDocument | None
) -> str:
    """Why nobody was mailed about a revision, in the words of its page; empty where there is nothing to decide."""
    is_open = document.state == DocumentState.STORED and newest is None and successor is None
    if not is_open or document.no_mail_reason or document.revision == 1:
        return ""
    if document.kind == DocumentKind.INVOICE and document.content.get("status", "") == "void":
        return "The invoice was voided after it was mailed"
    if document.kind == DocumentKind.CREDIT_NOTE and document.content.get("status", "") == "void":
        return "The credit note was voided after it was mailed"
    if document.kind == DocumentKind.CREDIT_NOTE:
        return "The credit note was changed after it was mailed"
    return "This revision takes the place of the one that the customer has"


def _list_lines(document: InvoiceDocument) -> list[ShownLine]:
    """The first lines as they were printed; managed services lead to their charge."""
    lines = document.content.get("lines", [])[:LINES_SHOWN]
    charges = _find_charges(document) if document.kind == DocumentKind.INVOICE else {}
    return [
        ShownLine(
            description=line["description"],
            quantity="" if line["quantity"] is None else f"{line['quantity']:,}",
            amount=format_minor(line["amount_minor"], document.currency),
            charge_url=charges.get(line["id"], ""),
        )
        for line in lines
    ]


def _find_charges(document: InvoiceDocument) -> dict[str, str]:
    """Stripe's line to the page of the managed charge that it bills."""
    items = dict(
        document.invoice.lines.exclude(invoice_item="").values_list("invoice_item", "stripe_line_id")
    )
    charges = ManagedCharge.objects.filter(stripe_invoice_item_id__in=items).values_list(
        "stripe_invoice_item_id", "pk"
    )
    return {
        items[item]: reverse("admin:invoices_managedcharge_change", args=[key])
        for item, key in charges
        if item is not None
    }
