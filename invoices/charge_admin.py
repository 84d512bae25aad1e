"""Managed charges in the console: where each is, and what is done about those that Stripe refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.decorators import display

from billing_worker.accounts.forms import ReasonForm
from billing_worker.core.errors import BillingError
from billing_worker.core.money import format_minor
from invoices.admin_base import ReadOnlyAdmin, get_name, tell_refusal
from invoices.models import InvoiceDocument, ManagedCharge
from invoices.services.charge_decisions import give_up_charges, retry_charges
from invoices.states import ChargeState, DocumentKind


class ManagedChargeAdmin(ReadOnlyAdmin):
    list_display: ClassVar = [
        "job_id", "description", "payer", "period", "show_amount", "show_state", "stripe_invoice_item_id", "billed_at",
    ]  # fmt: skip
    list_filter: ClassVar = ["state", "period", "currency"]
    search_fields: ClassVar = ["description", "customer", "stripe_invoice_item_id", "=job__id", "=payer__id"]
    list_select_related: ClassVar = ["payer"]
    fieldsets: ClassVar = [
        (
            None,
            {
                "fields": [
                    *("description", "job", "payer", "period", "show_amount", "state", "show_document"),
                    *("stripe_invoice_item_id", "last_error"),
                ]
            },
        ),
        (
            "The record",
            {
                "classes": ["collapse"],
                "fields": [
                    *(
                        "customer",
                        "draft",
                        "completed_at",
                        "attempts",
                        "tries",
                        "claimed_at",
                        "first_sent_at",
                    ),
                    "billed_at",
                ],
            },
        ),
    ]
    empty_hint = "Managed services are billed here once the lease says that Stripe bills the account."
    readonly_fields: ClassVar = ["show_amount", "show_document"]
    action_form = ReasonForm
    actions: ClassVar = ["retry", "give_up"]

    @display(description="Stands on")
    def show_document(self, charge: ManagedCharge) -> str:
        """The invoice that bills it, as soon as Stripe has put it on one."""
        if not charge.stripe_invoice_item_id:
            return "no invoice yet"
        documents = InvoiceDocument.objects.filter(
            kind=DocumentKind.INVOICE, invoice__lines__invoice_item=charge.stripe_invoice_item_id
        )
        document = documents.defer("content").order_by("-revision").first()
        if document is None:
            return "no finalized invoice yet"
        page = reverse("admin:invoices_invoicedocument_change", args=[document.pk])
        return format_html('<a class="underline" href="{}">{}</a>', page, document.number)

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
            count = service(ids=ids, reason=reason, actor=get_name(request), now=timezone.now())
        except BillingError as error:
            tell_refusal(request, error)
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
