"""The mirror in the console: read only, Stripe is the writer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.admin import ModelAdmin, TabularInline

from billing_worker.accounts.search import FoldedSearch, IndexedSearch
from billing_worker.core.money import format_minor
from billing_worker.mirror.models import (
    RawCopy,
    StripeCreditNote,
    StripeCreditNoteLine,
    StripeInvoice,
    StripeInvoiceLine,
    StripeSubscription,
)


class ReadOnly:
    """Nothing is added, changed or deleted here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class LineInline(ReadOnly, TabularInline):
    model = StripeInvoiceLine
    fk_name = "invoice"
    fields: ClassVar = [
        "position", "kind", "account", "description", "quantity", "unit_amount_decimal", "amount", "period_start",
        "period_end",
    ]  # fmt: skip
    readonly_fields: ClassVar = ["amount"]
    ordering: ClassVar = ["position"]
    extra = 0

    @admin.display(description="Amount")
    def amount(self, line: StripeInvoiceLine) -> str:
        return format_minor(line.amount_minor, line.currency)


def _amount(title: str, field: str) -> Callable[[Any, StripeInvoice], str]:
    """A field of minor units as money."""

    @admin.display(description=title)
    def show(self: Any, invoice: StripeInvoice) -> str:
        return format_minor(getattr(invoice, field), invoice.currency)

    return show


#: Amounts of an invoice's page in the order of its arithmetic: the field of each, and its name there.
_AMOUNTS: Final = {
    "subtotal_minor": "subtotal",
    "total_discount_minor": "discounts",
    "total_tax_minor": "tax",
    "total_minor": "total",
    "starting_balance_minor": "starting_balance",
    "amount_due_minor": "due",
    "amount_paid_minor": "paid",
    "amount_remaining_minor": "remaining",
}


@admin.register(StripeInvoice)
class StripeInvoiceAdmin(ReadOnly, IndexedSearch, ModelAdmin):
    list_display: ClassVar = [
        "__str__", "account", "status", "total", "billing_reason", "period_start", "period_end", "created_at",
    ]  # fmt: skip
    list_filter: ClassVar = ["status", "currency", "billing_reason", "lines_complete"]
    list_select_related: ClassVar = ["account"]
    search_fields: ClassVar = ["stripe_invoice_id", "number", "customer"]
    search_help_text = "Number, Stripe's ids, customer or address"
    date_hierarchy = "created_at"
    inlines: ClassVar = [LineInline]
    empty_hint = "Stripe's invoices appear with their first webhook."

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """What people look for first, amounts as money; every other field below, as it was told."""
        first = ["number", "status", "account", "stripe_invoice_id", "show_documents", *_AMOUNTS.values()]
        shown = {*first, *_AMOUNTS, "id"}
        rest = [
            field.name for field in StripeInvoice._meta.fields if field.editable and field.name not in shown
        ]
        return [(None, {"fields": first}), ("As Stripe told it", {"classes": ["collapse"], "fields": rest})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["show_documents", *_AMOUNTS.values()]

    subtotal = _amount("Subtotal", "subtotal_minor")
    discounts = _amount("Discounts", "total_discount_minor")
    tax = _amount("Tax", "total_tax_minor")
    starting_balance = _amount("Starting balance", "starting_balance_minor")
    due = _amount("Due", "amount_due_minor")
    paid = _amount("Paid", "amount_paid_minor")
    remaining = _amount("Remaining", "amount_remaining_minor")

    @admin.display(description="Our documents")
    def show_documents(self, invoice: StripeInvoice) -> str:
        page = reverse("admin:invoices_invoicedocument_changelist")
        link = '<a class="underline" href="{}?invoice__id__exact={}">PDFs and mails</a>'
        return format_html(link, page, invoice.pk)

    @admin.display(description="Total", ordering="total_minor")
    def total(self, invoice: StripeInvoice) -> str:
        return format_minor(invoice.total_minor, invoice.currency)


@admin.register(StripeSubscription)
class StripeSubscriptionAdmin(ReadOnly, IndexedSearch, ModelAdmin):
    list_display: ClassVar = [
        "stripe_subscription_id", "account", "status", "currency", "current_period_start", "current_period_end",
    ]  # fmt: skip
    list_filter: ClassVar = ["status", "currency", "collection_method"]
    list_select_related: ClassVar = ["account"]
    search_fields: ClassVar = ["stripe_subscription_id", "customer"]
    search_help_text = "Stripe's ids, customer or address"


class CreditLineInline(ReadOnly, TabularInline):
    model = StripeCreditNoteLine
    fk_name = "credit_note"
    fields: ClassVar = [
        "position", "kind", "account", "description", "quantity", "amount", "tax", "period_start", "period_end",
        "invoice_line",
    ]  # fmt: skip
    readonly_fields: ClassVar = ["amount", "tax"]
    ordering: ClassVar = ["position"]
    extra = 0

    @admin.display(description="Amount")
    def amount(self, line: StripeCreditNoteLine) -> str:
        return format_minor(line.amount_minor, line.currency)

    @admin.display(description="Tax")
    def tax(self, line: StripeCreditNoteLine) -> str:
        return format_minor(line.tax_minor, line.currency)


@admin.register(StripeCreditNote)
class StripeCreditNoteAdmin(ReadOnly, FoldedSearch, ModelAdmin):
    list_display: ClassVar = ["__str__", "account", "status", "total", "stripe_invoice_id", "created_at"]
    list_filter: ClassVar = ["status", "currency", "reason", "lines_complete"]
    list_select_related: ClassVar = ["account"]
    search_fields: ClassVar = ["stripe_credit_note_id", "number", "stripe_invoice_id", "customer"]
    inlines: ClassVar = [CreditLineInline]

    @admin.display(description="Total", ordering="total_minor")
    def total(self, note: StripeCreditNote) -> str:
        return format_minor(note.total_minor, note.currency)


@admin.register(RawCopy)
class RawCopyAdmin(ReadOnly, FoldedSearch, ModelAdmin):
    list_display: ClassVar = ["stripe_object_id", "kind", "copied_at", "failed_attempts", "next_attempt_at"]
    list_filter: ClassVar = ["kind"]
    search_fields: ClassVar = ["stripe_object_id", "last_error"]
