"""Documents, mails and charges in the console: read, preview, and act with a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.decorators import display

from billing_worker.accounts.forms import ReasonForm
from billing_worker.accounts.search import FoldedSearch
from billing_worker.core.errors import BillingError
from billing_worker.core.money import format_minor
from invoices.credits import tell_credits
from invoices.filters import CurrencyFilter, DeliveryFilter, LocaleFilter
from invoices.models import InvoiceDocument, InvoiceMail, ManagedCharge, PaymentAttempt
from invoices.previewing.console import TemplateComparisonAdmin
from invoices.previewing.models import TemplateComparison
from invoices.selectors import annotate_mail_state
from invoices.services.charge_decisions import give_up_charges, retry_charges
from invoices.services.documents import request_revision
from invoices.services.downloads import open_download
from invoices.services.mails import list_other_contacts, resend_document, settle_mail, split_addresses
from invoices.services.timeline import compile_timeline, measure_steps
from invoices.states import ChargeState, DocumentKind, DocumentState, MailState

T = TypeVar("T")

DOCUMENT_LABELS = {
    DocumentState.STORED: "success",
    DocumentState.PENDING: "info",
    DocumentState.RENDERING: "info",
    DocumentState.BLOCKED: "danger",
    DocumentState.FAILED: "danger",
}
MAIL_LABELS = {
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


class ReadOnlyAdmin(FoldedSearch, ModelAdmin):
    """Services are the only writers: the console shows."""

    list_per_page = 50

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(InvoiceDocument)
class InvoiceDocumentAdmin(ReadOnlyAdmin):
    """One page per document: the PDF in it, the invoice's timeline beside it, and what can be done below."""

    list_display: ClassVar = [
        *("number", "kind", "account", "period", "show_total", "show_status", "revision"),
        *("show_state", "show_mail", "created_at"),
    ]  # fmt: skip
    list_filter: ClassVar = ["state", DeliveryFilter, "period", CurrencyFilter, "kind", LocaleFilter]
    search_fields: ClassVar = ["number", "invoice__stripe_invoice_id", "account__name", "=account__id"]
    date_hierarchy = "created_at"
    #: Loaded for the rows shown, after them: joined, MariaDB may read and sort every document for the first page.
    list_select_related: ClassVar[list[str]] = []
    fieldsets: ClassVar = [
        (
            "The record",
            {
                "classes": ["collapse"],
                "fields": [
                    *("reason", "requested_by", "locale", "template_version", "content_hash", "storage_name"),
                    *(
                        "pdf_sha256",
                        "pdf_bytes",
                        "pdf_pages",
                        "render_ms",
                        "created_at",
                        "stored_at",
                        "attempts",
                    ),
                    *("claimed_at", "next_attempt_at", "last_error"),
                ],
            },
        )
    ]
    change_form_outer_before_template = "invoices/admin/document.html"

    @classmethod
    def add_filters(cls, *filters: type[admin.SimpleListFilter]) -> None:
        """Filters of the floors above, which know of cohorts and drift."""
        own: list[Any] = list(cls.list_filter)
        own[:0] = [extra for extra in filters if extra not in own]
        cls.list_filter = own

    def get_queryset(self, request: HttpRequest) -> QuerySet[InvoiceDocument]:
        queryset: QuerySet[InvoiceDocument] = super().get_queryset(request)
        return annotate_mail_state(queryset).prefetch_related("account", "invoice")

    @display(description="Total", ordering="total_minor")
    def show_total(self, document: InvoiceDocument) -> str:
        """A credit note takes away."""
        is_credit = document.kind == DocumentKind.CREDIT_NOTE
        return format_minor(-document.total_minor if is_credit else document.total_minor, document.currency)

    @display(description="At Stripe", ordering="invoice__status")
    def show_status(self, document: InvoiceDocument) -> str:
        """The invoice's status as it is, of others what the document says."""
        return str(document.content["status"]) if document.subject else document.invoice.status

    @display(description="PDF", ordering="state", label=DOCUMENT_LABELS)
    def show_state(self, document: InvoiceDocument) -> tuple[str, str]:
        return document.state, document.get_state_display()

    @display(description="Mail", label=MAIL_LABELS)
    def show_mail(self, document: InvoiceDocument) -> str | tuple[str, str]:
        state = getattr(document, "mail_state", None)
        return (state, MailState(state).label) if state else ""

    def get_urls(self) -> list[URLPattern]:
        def route(suffix: str, view: Callable[..., HttpResponseBase], name: str) -> Any:
            return path(
                f"<int:document_id>/{suffix}/",
                self.admin_site.admin_view(view),
                name=f"invoices_invoicedocument_{name}",
            )

        return [
            route("pdf", self.show_pdf, "pdf"),
            route("revise", require_POST(self.revise), "revise"),
            route("resend", require_POST(self.resend), "resend"),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        document = (
            InvoiceDocument.objects.select_related("invoice", "account").filter(pk=object_id).first()
            if object_id.isdigit()
            else None
        )
        context = dict(extra_context or {})
        if document is not None:
            context |= {
                "document": document,
                "document_total": format_minor(document.total_minor, document.currency),
                "timeline": measure_steps(compile_timeline(document.invoice)),
                "stripe_url": _make_stripe_url(document),
                "attempts": _tell_attempts(document),
                "credits": tell_credits(document.invoice),
                "superseded_by": _find_successor(document),
                "lacks_paid": _lacks_paid(document),
                "revisions": _select_revisions(document).order_by("revision"),
                "others": _select_others(document),
                "open_mails": document.mails.filter(state__in=[MailState.UNKNOWN, MailState.FAILED]),
                "lost_mails": _find_lost_mails(document),
                "can_revise": request.user.has_perm("invoices.rerender_invoicedocument"),
                "can_resend": request.user.has_perm("invoices.resend_invoicemail"),
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    def show_pdf(self, request: HttpRequest, document_id: int) -> HttpResponse:
        """To a short-lived link to the file, for those who may see documents. `?download` offers it as a file.

        The stored bytes are checked against the recorded hash before the link is made; who took a copy is audited.
        """
        document = get_object_or_404(InvoiceDocument, pk=document_id)
        if not self.has_view_permission(request, document):
            raise PermissionDenied
        is_inline = "download" not in request.GET
        try:
            url = open_download(
                document=document, is_inline=is_inline, actor=_name(request), now=timezone.now()
            )
        except BillingError as error:
            return HttpResponse(str(error), status=error.http_status, content_type="text/plain")
        return redirect(url)

    def revise(self, request: HttpRequest, document_id: int) -> HttpResponse:
        """Make a new revision of what the document is about, and mail it to whom a person says."""
        document = get_object_or_404(InvoiceDocument, pk=document_id)
        reason = request.POST.get("reason", "").strip()
        mail_to = split_addresses(request.POST.get("to", ""))
        if mail_to and not request.user.has_perm("invoices.resend_invoicemail"):
            raise PermissionDenied

        def act() -> InvoiceDocument:
            return request_revision(
                invoice_id=document.invoice_id,
                subject=document.subject,
                reason=reason,
                mail_to=mail_to,
                actor=_name(request),
                now=timezone.now(),
            )

        if not reason:
            messages.error(request, "Say why the document is made again.")
        elif (revised := _try(request, "invoices.rerender_invoicedocument", act)) is not None:
            mailed = (
                f"mailed to {revised.mail_to} once it is stored"
                if revised.mail_to
                else "not mailed by itself"
            )
            messages.success(request, f"Revision {revised.revision} is on its way. It is {mailed}.")
            document = revised
        return redirect("admin:invoices_invoicedocument_change", document.pk)

    def resend(self, request: HttpRequest, document_id: int) -> HttpResponse:
        """Send the document once more."""
        document = get_object_or_404(InvoiceDocument, pk=document_id)

        def act() -> InvoiceMail:
            return resend_document(
                document_id=document.pk,
                to=split_addresses(request.POST.get("to", "")),
                reason=request.POST.get("reason", ""),
                actor=_name(request),
                now=timezone.now(),
            )

        mail = _try(request, "invoices.resend_invoicemail", act)
        if mail is not None:
            messages.success(request, f"Queued for {', '.join(mail.to)}.")
        return redirect("admin:invoices_invoicedocument_change", document.pk)


admin.site.register(TemplateComparison, TemplateComparisonAdmin)


@admin.register(InvoiceMail)
class InvoiceMailAdmin(ReadOnlyAdmin):
    list_display: ClassVar = [
        "subject",
        "show_to",
        "show_state",
        "sequence",
        "queued_at",
        "sent_at",
        "settled_at",
    ]
    list_filter: ClassVar = ["state", "document__period"]
    search_fields: ClassVar = ["subject", "message_id", "to", "document__number"]
    date_hierarchy = "queued_at"
    fields: ClassVar = [
        *("document", "subject", "show_to", "show_bcc", "show_recipients", "state", "reason", "requested_by"),
        *("queued_at", "sent_at", "settled_at", "attempts", "claimed_at", "next_attempt_at", "last_error"),
        *("message_id", "service_message_id", "sequence"),
    ]
    readonly_fields: ClassVar = ["show_to", "show_bcc", "show_recipients"]

    @display(description="To")
    def show_to(self, mail: InvoiceMail) -> str:
        return ", ".join([*mail.to, *mail.cc])

    @display(description="Blind copy")
    def show_bcc(self, mail: InvoiceMail) -> str:
        return ", ".join(mail.bcc)

    @display(description="What the mail service said")
    def show_recipients(self, mail: InvoiceMail) -> str:
        said = ((address, word, word.get("detail")) for address, word in mail.recipients.items())
        rows = (
            (address, f"{word['state']}{f' ({detail})' if detail else ''}") for address, word, detail in said
        )
        return format_html_join(mark_safe("<br>"), "{}: {}", rows)

    @display(description="State", ordering="state", label=MAIL_LABELS)
    def show_state(self, mail: InvoiceMail) -> tuple[str, str]:
        return mail.state, mail.get_state_display()

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                "<int:mail_id>/settle/",
                self.admin_site.admin_view(require_POST(self.settle)),
                name="invoices_invoicemail_settle",
            ),
            *super().get_urls(),
        ]

    def settle(self, request: HttpRequest, mail_id: int) -> HttpResponse:
        """A person says whether an open mail went out."""
        mail = get_object_or_404(InvoiceMail, pk=mail_id)

        def act() -> InvoiceMail:
            return settle_mail(
                mail_id=mail_id,
                was_sent=request.POST.get("verdict") == "sent",
                reason=request.POST.get("reason", ""),
                actor=_name(request),
                now=timezone.now(),
            )

        settled = _try(request, "invoices.resend_invoicemail", act)
        if settled is not None:
            messages.success(request, f"The mail is {settled.get_state_display().lower()}.")
        return redirect(reverse("admin:invoices_invoicedocument_change", args=[mail.document_id]))


@admin.register(ManagedCharge)
class ManagedChargeAdmin(ReadOnlyAdmin):
    list_display: ClassVar = [
        "job_id", "description", "payer", "period", "show_amount", "show_state", "stripe_invoice_item_id", "billed_at",
    ]  # fmt: skip
    list_filter: ClassVar = ["state", "period", "currency"]
    search_fields: ClassVar = ["description", "customer", "stripe_invoice_item_id", "=job__id", "=payer__id"]
    list_select_related: ClassVar = ["payer"]
    exclude: ClassVar = ["claim_token", "amount_minor", "currency"]
    readonly_fields: ClassVar = ["show_amount"]
    action_form = ReasonForm
    actions: ClassVar = ["retry", "give_up"]

    def has_settle_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("invoices.settle_managedcharge")

    @admin.action(description="Try again (the cause is mended)", permissions=["settle"])
    def retry(self, request: HttpRequest, queryset: QuerySet[ManagedCharge]) -> None:
        self._decide(request, queryset, retry_charges, "will be sent to Stripe again")

    @admin.action(description="Give up: Stripe never bills them", permissions=["settle"])
    def give_up(self, request: HttpRequest, queryset: QuerySet[ManagedCharge]) -> None:
        self._decide(request, queryset, give_up_charges, "will never be billed by Stripe")

    def _decide(
        self, request: HttpRequest, queryset: QuerySet[ManagedCharge], service: Callable[..., int], done: str
    ) -> None:
        ids = list(queryset.values_list("pk", flat=True))
        reason = request.POST.get("reason", "")
        try:
            count = service(ids=ids, reason=reason, actor=_name(request), now=timezone.now())
        except BillingError as error:
            self.message_user(request, str(error), level=messages.ERROR)
            return
        left = f"; {len(ids) - count} were not refused by Stripe" if count < len(ids) else ""
        level = messages.SUCCESS if count else messages.WARNING
        self.message_user(request, f"{count} managed charges {done}{left}", level=level)

    @display(description="Amount", ordering="amount_minor")
    def show_amount(self, charge: ManagedCharge) -> str:
        return format_minor(charge.amount_minor, charge.currency)

    @display(
        description="State",
        ordering="state",
        label={
            ChargeState.BILLED: "success",
            ChargeState.PENDING: "info",
            ChargeState.SENDING: "info",
            ChargeState.REJECTED: "danger",
            ChargeState.UNKNOWN: "warning",
            ChargeState.GIVEN_UP: "danger",
        },
    )
    def show_state(self, charge: ManagedCharge) -> tuple[str, str]:
        return charge.state, charge.get_state_display()


def _make_stripe_url(document: InvoiceDocument) -> str:
    """The invoice in Stripe's dashboard; empty with the sandbox, which has none."""
    env = settings.ENV
    if env.uses_sandbox:
        return ""
    mode = "" if env.has_live_key else "test/"
    return f"https://dashboard.stripe.com/{mode}invoices/{document.invoice.stripe_invoice_id}"


def _tell_attempts(document: InvoiceDocument) -> list[tuple[PaymentAttempt, str]]:
    """The invoice's payment attempts, oldest first, each with its amount."""
    attempts = document.invoice.payment_attempts.all()
    return [(attempt, format_minor(attempt.amount_minor, attempt.currency)) for attempt in attempts]


def _find_successor(document: InvoiceDocument) -> InvoiceDocument | None:
    """The newest stored revision, if it is a later one."""
    later = _select_revisions(document).filter(revision__gt=document.revision)
    return later.filter(state=DocumentState.STORED).order_by("-revision").first()


def _select_revisions(document: InvoiceDocument) -> QuerySet[InvoiceDocument]:
    """All revisions about the same thing: the invoice, or one payment or credit note of it."""
    return InvoiceDocument.objects.filter(
        invoice=document.invoice_id, kind=document.kind, subject=document.subject
    )


def _lacks_paid(document: InvoiceDocument) -> bool:
    """Whether the invoice was paid and no revision says so."""
    is_paid = document.kind == DocumentKind.INVOICE and document.invoice.status == "paid"
    return is_paid and not any(
        revision.content["status"] == "paid" for revision in _select_revisions(document)
    )


def _select_others(document: InvoiceDocument) -> QuerySet[InvoiceDocument]:
    """What else was made about the invoice: of each other subject the first revision, oldest first."""
    others = InvoiceDocument.objects.filter(invoice=document.invoice_id, revision=1)
    return others.exclude(kind=document.kind, subject=document.subject).order_by("created_at", "pk")


def _find_lost_mails(document: InvoiceDocument) -> list[tuple[InvoiceMail, list[str]]]:
    """The newest mail of a document if it did not arrive, with whom else to send it to."""
    newest = document.mails.order_by("-sequence").first()
    lost = (MailState.BOUNCED, MailState.COMPLAINED, MailState.FAILED)
    return [(newest, list_other_contacts(newest))] if newest and newest.state in lost else []


def _name(request: HttpRequest) -> str:
    return str(request.user.get_username())


def _try(request: HttpRequest, permission: str, act: Callable[[], T]) -> T | None:
    """Do it if the person may; a refusal of ours becomes a message on the page."""
    if not request.user.has_perm(permission):
        raise PermissionDenied
    try:
        return act()
    except BillingError as error:
        messages.error(request, str(error))
        return None
