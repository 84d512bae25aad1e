"""Mails in the console: to whom, what became of them, and a person's word on those in doubt."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.text import Truncator
from unfold.decorators import display

from billing_worker.accounts.search import IndexedSearch
from invoices.admin_base import NOTHING_DONE, ReadOnlyAdmin, get_name, try_to
from invoices.document_page import MAIL_TONES
from invoices.models import InvoiceMail
from invoices.services.mails import settle_mail


class InvoiceMailAdmin(IndexedSearch, ReadOnlyAdmin):
    list_display: ClassVar = [
        *("show_number", "show_account", "show_to", "show_state", "show_why"),
        *("queued_at", "sent_at"),
    ]
    list_filter: ClassVar = ["state", "document__kind", "document__period"]
    search_fields: ClassVar = ["document__number", "message_id"]
    search_account = "document__account"
    search_help_text = "Number, message id, customer or address"
    date_hierarchy = "queued_at"
    empty_hint = "A mail is queued as soon as a document's PDF is stored."
    fieldsets: ClassVar = [
        (
            None,
            {
                "fields": [
                    *(
                        "show_document",
                        "show_account",
                        "subject",
                        "show_state",
                        "show_why",
                        "show_recipients",
                    ),
                    "last_error",
                ]
            },
        ),
        ("Addresses", {"fields": ["show_to", "show_bcc"]}),
        (
            "The record",
            {
                "classes": ["collapse"],
                "fields": [
                    *("queued_at", "sent_at", "settled_at", "attempts", "claimed_at", "next_attempt_at"),
                    *("message_id", "service_message_id", "sequence"),
                ],
            },
        ),
    ]
    readonly_fields: ClassVar = [
        *(
            "show_document",
            "show_account",
            "show_state",
            "show_why",
            "show_to",
            "show_bcc",
            "show_recipients",
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[InvoiceMail]:
        queryset: QuerySet[InvoiceMail] = super().get_queryset(request)
        return queryset.select_related("document__account").defer("document__content")

    @display(description="Document", ordering="document__number")
    def show_number(self, mail: InvoiceMail) -> str:
        """The list's link to the mail."""
        return mail.document.number or str(mail.document_id)

    @display(description="Document")
    def show_document(self, mail: InvoiceMail) -> str:
        """The mail's link to its document, where it can be sent again."""
        page = reverse("admin:invoices_invoicedocument_change", args=[mail.document_id])
        kind = mail.document.get_kind_display()
        return format_html('<a class="underline" href="{}">{} {}</a>', page, kind, mail.document)

    @display(description="Account")
    def show_account(self, mail: InvoiceMail) -> str:
        account = mail.document.account
        page = reverse("admin:accounts_account_change", args=[account.pk])
        return format_html('<a class="underline" href="{}">{}</a>', page, account)

    @display(description="To")
    def show_to(self, mail: InvoiceMail) -> str:
        return ", ".join([*mail.to, *mail.cc])

    @display(description="Blind copy")
    def show_bcc(self, mail: InvoiceMail) -> str:
        return ", ".join(mail.bcc)

    @display(description="Why", ordering="sequence")
    def show_why(self, mail: InvoiceMail) -> str:
        """The automatic one, or who sent it again and why."""
        return (
            f"{mail.requested_by}: {Truncator(mail.reason).chars(60)}" if mail.requested_by else "automatic"
        )

    @display(description="Said last")
    def show_last_word(self, mail: InvoiceMail) -> str:
        """An error, or the words with which the mail was taken."""
        return mail.last_error or "-"

    @display(description="What the mail service said")
    def show_recipients(self, mail: InvoiceMail) -> str:
        said = ((address, word, word.get("detail")) for address, word in mail.recipients.items())
        rows = (
            (address, f"{word['state']}{f' ({detail})' if detail else ''}") for address, word, detail in said
        )
        return format_html_join(mark_safe("<br>"), "{}: {}", rows) or "nothing yet"

    @display(description="State", ordering="state", label=MAIL_TONES)
    def show_state(self, mail: InvoiceMail) -> tuple[str, str]:
        return mail.state, mail.get_state_display()

    def get_urls(self) -> list[URLPattern]:
        settle = self.admin_site.admin_view(self.settle)
        return [
            path("<int:mail_id>/settle/", settle, name="invoices_invoicemail_settle"),
            *super().get_urls(),
        ]

    def settle(self, request: HttpRequest, mail_id: int) -> HttpResponse:
        """A person says whether an open mail went out. A look does nothing and leads to the document."""
        mail = get_object_or_404(InvoiceMail, pk=mail_id)
        back = redirect("admin:invoices_invoicedocument_change", mail.document_id)
        if request.method != "POST":
            self.message_user(request, NOTHING_DONE, level="warning")
            return back

        def act() -> Any:
            return settle_mail(
                mail_id=mail_id,
                was_sent=request.POST.get("verdict") == "sent",
                reason=request.POST.get("reason", ""),
                actor=get_name(request),
                now=timezone.now(),
            )

        settled = try_to(request, "invoices.resend_invoicemail", act)
        if settled is not None:
            self.message_user(request, f"The mail is {settled.get_state_display().lower()}.", level="success")
        return back
