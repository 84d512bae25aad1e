"""Documents, mails and charges in the console: read, preview, and act with a reason."""

from __future__ import annotations

from collections.abc import Callable
from tempfile import TemporaryFile
from typing import Any, ClassVar, TypeVar

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from unfold.decorators import display

from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.forms import ReasonForm
from billing_worker.accounts.models import Account
from billing_worker.accounts.search import IndexedSearch
from billing_worker.core.errors import BillingError
from billing_worker.core.money import format_minor
from invoices.addresses import split_addresses
from invoices.admin_base import NOTHING_DONE, ReadOnlyAdmin, get_name, tell_refusal, try_to
from invoices.attention import NEEDS, find_needing_once
from invoices.batches.console import DocumentBatchAdmin
from invoices.batches.models import BatchAction, DocumentBatch
from invoices.batches.services import MAX_ITEMS, start_batch
from invoices.charge_admin import ManagedChargeAdmin
from invoices.document_page import MAIL_TONES, build_document_page
from invoices.exports.document_list import iterate_csv, write_workbook
from invoices.filters import CurrencyFilter, DeliveryFilter, LocaleFilter, NeedsFilter
from invoices.mail_admin import InvoiceMailAdmin
from invoices.models import InvoiceDocument, InvoiceMail, ManagedCharge
from invoices.previewing.console import TemplateComparisonAdmin
from invoices.previewing.models import TemplateComparison
from invoices.selectors import annotate_mail_state
from invoices.services.documents import request_revision
from invoices.services.downloads import open_download
from invoices.services.mails import resend_document, waive_mail
from invoices.states import DocumentKind, DocumentState, MailState

T = TypeVar("T")

DOCUMENT_LABELS = {
    DocumentState.STORED: "success",
    DocumentState.PENDING: "info",
    DocumentState.RENDERING: "info",
    DocumentState.BLOCKED: "danger",
    DocumentState.FAILED: "danger",
}


@admin.register(InvoiceDocument)
class InvoiceDocumentAdmin(IndexedSearch, ReadOnlyAdmin):
    """One page per document: the PDF in it, the invoice's timeline beside it, and what can be done below."""

    list_display: ClassVar = [
        *("show_number", "kind", "account", "period", "show_total", "show_status"),
        *("show_state", "show_mail", "show_made"),
    ]  # fmt: skip
    list_filter: ClassVar = [
        NeedsFilter,
        "state",
        DeliveryFilter,
        "period",
        CurrencyFilter,
        "kind",
        LocaleFilter,
    ]
    search_fields: ClassVar = ["number", "=invoice__stripe_invoice_id"]
    search_help_text = "Number, Stripe's id, customer or address"
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
    list_before_template = "invoices/admin/document_list_tools.html"
    action_form = ReasonForm
    actions: ClassVar = ["resend_chosen", "revise_chosen"]
    empty_hint = (
        "Documents are made when Stripe finalizes an invoice of ours, at the latest by the next sweep."
    )
    show_full_result_count = False

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("invoices.resend_invoicemail")

    def has_revise_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("invoices.rerender_invoicedocument")

    @admin.action(description="Send again to the accounts' contacts", permissions=["resend"])
    def resend_chosen(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        return self._start_batch(request, queryset, BatchAction.RESEND)

    @admin.action(description="Make new revisions", permissions=["revise"])
    def revise_chosen(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        return self._start_batch(request, queryset, BatchAction.REVISE)

    def _start_batch(
        self, request: HttpRequest, queryset: QuerySet[Any], action: BatchAction
    ) -> HttpResponse | None:
        """To the page that shows how far it is; a refusal stays on the list."""
        try:
            batch = start_batch(
                action=action,
                document_ids=list(queryset.order_by("pk").values_list("pk", flat=True)[: MAX_ITEMS + 1]),
                reason=request.POST.get("reason", ""),
                actor=get_name(request),
                now=timezone.now(),
            )
        except BillingError as error:
            tell_refusal(request, error)
            return None
        return redirect("admin:invoices_documentbatch_change", batch.pk)

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

    @display(description="Number", ordering="number")
    def show_number(self, document: InvoiceDocument) -> str:
        """With its revision, where it is not the first."""
        later = f" r{document.revision}" if document.revision > 1 else ""
        return f"{document.number or document.pk}{later}"

    @display(description="Made (UTC)", ordering="created_at")
    def show_made(self, document: InvoiceDocument) -> str:
        return f"{document.created_at:%Y-%m-%d %H:%M}"

    @display(description="PDF", ordering="state", label=DOCUMENT_LABELS)
    def show_state(self, document: InvoiceDocument) -> tuple[str, str]:
        return document.state, document.get_state_display()

    @display(description="Mail", label=MAIL_TONES)
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
            route("revise", self._posted(self.revise), "revise"),
            route("resend", self._posted(self.resend), "resend"),
            route("waive", self._posted(self.waive), "waive"),
            path(
                "export.<str:kind>/",
                self.admin_site.admin_view(self.export),
                name="invoices_invoicedocument_export",
            ),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, with links to what waits for a person and to the list as a file."""
        chosen = request.GET.get("needs", "")
        account = request.GET.get("account__id__exact", "")
        needing = find_needing_once(request)
        context = {
            "needs": [(need, len(needing[need.key])) for need in NEEDS],
            "nothing_needed": not any(needing.values()),
            "chosen_need": chosen,
            "advice": next((need.advice for need in NEEDS if need.key == chosen), ""),
            "list_query": request.GET.urlencode(),
            "only_account": Account.objects.filter(pk=account).first() if account.isdecimal() else None,
            **(extra_context or {}),
        }
        response: HttpResponse = super().changelist_view(request, context)
        return response

    def export(self, request: HttpRequest, kind: str) -> HttpResponseBase:
        """The filtered list as CSV or XLSX; who took it is audited."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if kind not in ("csv", "xlsx"):
            raise Http404
        try:
            documents = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            raise Http404 from None
        now = timezone.now()
        record_audit(
            actor=get_name(request),
            action="invoices.list_exported",
            subject_type="InvoiceDocument",
            subject_id=kind,
            at=now,
            after={"filters": request.GET.dict()},
        )
        name = f"documents-{now:%Y%m%d-%H%M}.{kind}"
        if kind == "csv":
            return StreamingHttpResponse(
                iterate_csv(documents),
                content_type="text/csv; charset=utf-8",
                headers={"Content-Disposition": f'attachment; filename="{name}"'},
            )
        file = TemporaryFile()  # noqa: SIM115 - the answer closes it
        write_workbook(documents, file)
        file.seek(0)
        return FileResponse(file, as_attachment=True, filename=name)

    def _posted(self, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        """Forms only. A look at the address (after a log-in in between) leads to the page, where nothing was done."""

        def guarded(request: HttpRequest, document_id: int) -> HttpResponse:
            if request.method == "POST":
                return view(request, document_id)
            messages.warning(request, NOTHING_DONE)
            return _back(get_object_or_404(InvoiceDocument, pk=document_id))

        return guarded

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
            context |= build_document_page(document, request.user)
            context["typed"] = _read_typed(request)
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
                document=document, is_inline=is_inline, actor=get_name(request), now=timezone.now()
            )
        except BillingError as error:
            return HttpResponse(str(error), status=error.http_status, content_type="text/plain")
        return redirect(url)

    def revise(self, request: HttpRequest, document_id: int) -> HttpResponse:
        """Make a new revision of what the document is about, and mail it to whom a person says."""
        document = get_object_or_404(InvoiceDocument, pk=document_id)
        reason = request.POST.get("reason", "")
        mail_to = split_addresses(request.POST.get("to", ""))
        if mail_to and not request.user.has_perm("invoices.resend_invoicemail"):
            raise PermissionDenied

        def act() -> InvoiceDocument:
            return request_revision(
                invoice_id=document.invoice_id,
                subject=document.subject,
                reason=reason,
                mail_to=mail_to,
                actor=get_name(request),
                now=timezone.now(),
            )

        revised = try_to(request, "invoices.rerender_invoicedocument", act)
        if revised is None:
            return _back(document, revise="1", reason=reason)
        mailed = (
            f"mailed to {revised.mail_to} once it is stored" if revised.mail_to else "not mailed by itself"
        )
        messages.success(request, f"Revision {revised.revision} is on its way. It is {mailed}.")
        return _back(revised)

    def resend(self, request: HttpRequest, document_id: int) -> HttpResponse:
        """Send the document once more."""
        document = get_object_or_404(InvoiceDocument, pk=document_id)
        seen, to, reason = (request.POST.get(name, "") for name in ("seen", "to", "reason"))

        def act() -> InvoiceMail:
            return resend_document(
                document_id=document.pk,
                to=split_addresses(to),
                reason=reason,
                actor=get_name(request),
                now=timezone.now(),
                seen_sequence=int(seen) if seen.removeprefix("-").isdecimal() else None,
                older_is_meant="older" in request.POST,
            )

        mail = try_to(request, "invoices.resend_invoicemail", act)
        if mail is None:
            return _back(document, send="1", to=to, reason=reason)
        messages.success(request, f"Queued for {', '.join(mail.to)}.")
        return _back(document)

    def waive(self, request: HttpRequest, document_id: int) -> HttpResponse:
        """Nobody is mailed about this revision, and why."""
        document = get_object_or_404(InvoiceDocument, pk=document_id)

        def act() -> InvoiceDocument:
            return waive_mail(
                document_id=document.pk,
                reason=request.POST.get("reason", ""),
                actor=get_name(request),
                now=timezone.now(),
            )

        if try_to(request, "invoices.resend_invoicemail", act) is not None:
            messages.success(request, "Nobody is mailed about this revision.")
        return _back(document)


admin.site.register(InvoiceMail, InvoiceMailAdmin)
admin.site.register(ManagedCharge, ManagedChargeAdmin)
admin.site.register(TemplateComparison, TemplateComparisonAdmin)
admin.site.register(DocumentBatch, DocumentBatchAdmin)


def _read_typed(request: HttpRequest) -> dict[str, str]:
    """What the person had typed into the form that was refused: it is offered again."""
    return {name: request.GET.get(name, "") for name in ("send", "revise", "to", "reason")}


def _back(document: InvoiceDocument, **typed: str) -> HttpResponse:
    """To the document's page, with what was typed if that was refused."""
    page = reverse("admin:invoices_invoicedocument_change", args=[document.pk])
    return redirect(f"{page}?{urlencode(typed)}" if typed else page)
