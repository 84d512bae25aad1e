"""Accounts, leases, the audit trail, service keys and people in the console. Services are the only writers."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from rest_framework_api_key.models import APIKey
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from billing_worker.accounts.models import (
    Account,
    AccountPlan,
    AccountTier,
    AuditEntry,
    BillingLease,
    ManagedJob,
    ServiceKey,
    TestClock,
)
from billing_worker.accounts.search import FoldedSearch
from billing_worker.accounts.selectors import get_billing_account
from billing_worker.accounts.services import (
    SCOPES,
    change_document_settings,
    create_service_key,
    revoke_service_key,
)
from billing_worker.core.money import format_minor
from billing_worker.customers.admin import AtStripe


class ReadOnly:
    """Look, don't touch: rows come from the import and from services."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class PlanInline(ReadOnly, TabularInline):
    model = AccountPlan
    extra = 0
    fields: ClassVar = ["plan_name", "unit_amount_decimal", "effective_from", "effective_to"]


class TierInline(ReadOnly, TabularInline):
    model = AccountTier
    extra = 0
    fields: ClassVar = [
        "usage_type", "tier_from", "tier_to", "unit_amount_decimal", "effective_from", "effective_to",
    ]  # fmt: skip


class JobInline(ReadOnly, TabularInline):
    model = ManagedJob
    extra = 0
    fields: ClassVar = ["title", "amount", "status", "completed_at"]
    readonly_fields: ClassVar = ["amount"]

    def amount(self, job: ManagedJob) -> str:
        return format_minor(job.amount_minor, job.currency)


class LeaseInline(ReadOnly, TabularInline):
    model = BillingLease
    extra = 0
    fields: ClassVar = ["period", "biller", "changed_at"]


@admin.register(Account)
class AccountAdmin(ReadOnly, FoldedSearch, AtStripe):
    list_display: ClassVar = [
        "id",
        "name",
        "status",
        "currency",
        "stripe_customer_id",
        "parent",
        "imported_at",
    ]
    list_display_links: ClassVar = ["id", "name"]
    list_filter: ClassVar = ["status", "currency"]
    list_select_related: ClassVar = ["parent"]
    search_fields: ClassVar = ["id", "name", "billing_email", "stripe_customer_id"]
    inlines: ClassVar = [PlanInline, TierInline, JobInline, LeaseInline]
    fieldsets: ClassVar = [
        (None, {"fields": ["id", "name", "status", "currency", "opened_at", "closed_at", "imported_at"]}),
        ("Billed", {"fields": ["billed_through", "parent", "stripe_customer_id", "test_clock"]}),
        ("Mail", {"fields": ["billing_email", "billing_cc"]}),
        ("Documents", {"fields": ["locale", "invoice_format", "tax_id_type", "tax_id_value"]}),
        (
            "Address",
            {
                "fields": [
                    *("address_line1", "address_line2", "address_postal_code"),
                    *("address_city", "address_state", "address_country"),
                ]
            },
        ),
    ]
    #: Ours, not the old service's: the only fields that a person changes here.
    editable: ClassVar = {"locale", "invoice_format", "tax_id_type", "tax_id_value"}
    actions_detail: ClassVar = ["show_documents", "show_usage"]

    @action(description="Usage and bill", url_path="usage", permissions=["see_usage"])
    def show_usage(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """To the page of the account's month, which metering serves."""
        return redirect("admin:metering_usagefeed_month", account_id=object_id)

    @action(description="Invoices", url_path="documents", permissions=["see_documents"])
    def show_documents(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """To the account's documents; a child's stand on its payer's invoices."""
        account = get_object_or_404(Account, pk=object_id)
        page = reverse("admin:invoices_invoicedocument_changelist")
        return redirect(f"{page}?account__id__exact={get_billing_account(account).pk}")

    def has_see_documents_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """A method, as below."""
        return request.user.has_perm("invoices.view_invoicedocument")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("accounts.change_account")

    def get_readonly_fields(self, request: HttpRequest, obj: Account | None = None) -> list[str]:
        shown = [name for _, options in self.fieldsets for name in options["fields"]]
        return [name for name in shown if name not in self.editable]

    def save_model(self, request: HttpRequest, obj: Account, form: Any, change: bool) -> None:
        """Through the service, which audits it; the form has checked the rest."""
        change_document_settings(
            account_id=obj.pk,
            locale=obj.locale,
            invoice_format=obj.invoice_format,
            tax_id_type=obj.tax_id_type,
            tax_id_value=obj.tax_id_value,
            actor=request.user.get_username(),
            reason="changed in the console",
            now=timezone.now(),
        )

    def has_see_usage_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """A method and no name with a dot, which Unfold's check would look up before there are tables."""
        return request.user.has_perm("metering.view_usagefeed")

    @admin.display(description="Billed through")
    def billed_through(self, account: Account) -> str:
        payer = get_billing_account(account)
        return "itself" if payer == account else str(payer)


@admin.register(BillingLease)
class BillingLeaseAdmin(ReadOnly, FoldedSearch, ModelAdmin):
    list_display: ClassVar = ["account", "period", "biller", "changed_at"]
    list_filter: ClassVar = ["biller", "period"]
    list_select_related: ClassVar = ["account"]
    search_fields: ClassVar = ["account__id", "account__name"]


@admin.register(ManagedJob)
class ManagedJobAdmin(ReadOnly, FoldedSearch, ModelAdmin):
    list_display: ClassVar = ["id", "title", "account", "amount", "status", "completed_at"]
    list_filter: ClassVar = ["status", "currency"]
    list_select_related: ClassVar = ["account"]
    search_fields: ClassVar = ["id", "title", "account__name"]

    @admin.display(ordering="amount_minor")
    def amount(self, job: ManagedJob) -> str:
        return format_minor(job.amount_minor, job.currency)


@admin.register(TestClock)
class TestClockAdmin(ReadOnly, FoldedSearch, ModelAdmin):
    list_display: ClassVar = ["stripe_test_clock_id", "name", "frozen_at", "is_ready"]
    search_fields: ClassVar = ["stripe_test_clock_id", "name"]


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly, FoldedSearch, ModelAdmin):
    list_display: ClassVar = ["at", "actor", "action", "subject_type", "subject_id", "reason"]
    list_filter: ClassVar = ["action", "subject_type"]
    search_fields: ClassVar = ["actor", "subject_id", "reason"]
    date_hierarchy = "at"


class ServiceKeyForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in SCOPES], widget=forms.CheckboxSelectMultiple
    )

    class Meta:
        model = ServiceKey
        fields: ClassVar = ["name", "scopes"]


@admin.register(ServiceKey)
class ServiceKeyAdmin(FoldedSearch, ModelAdmin):
    form = ServiceKeyForm
    list_display: ClassVar = ["name", "prefix", "scopes", "created", "created_by", "revoked"]
    list_filter: ClassVar = ["revoked"]
    search_fields: ClassVar = ["name", "prefix"]
    actions: ClassVar = ["revoke"]

    def get_readonly_fields(self, request: HttpRequest, obj: ServiceKey | None = None) -> list[str]:
        return [] if obj is None else ["name", "scopes", "prefix", "created", "created_by", "revoked"]

    def get_fields(self, request: HttpRequest, obj: ServiceKey | None = None) -> list[str]:
        return self.get_readonly_fields(request, obj) or ["name", "scopes"]

    def has_delete_permission(self, request: HttpRequest, obj: ServiceKey | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ServiceKey, form: Any, change: bool) -> None:
        """Create through the service and show the key, this once. An existing key is only revoked."""
        if change:
            return
        assert isinstance(request.user, User)
        key, plain = create_service_key(
            name=form.cleaned_data["name"],
            scopes=form.cleaned_data["scopes"],
            actor=request.user.get_username(),
            now=timezone.now(),
            created_by=request.user,
        )
        obj.pk = key.pk
        obj.refresh_from_db()
        messages.warning(request, f"The key of {key.name} is {plain} . Copy it now: it is not shown again.")

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ServiceKey]) -> None:
        for key in queryset:
            revoke_service_key(
                key=key,
                actor=request.user.get_username(),
                reason="revoked in the console",
                now=timezone.now(),
            )
        messages.success(request, f"{len(queryset)} key(s) revoked.")


# The library's own keys have no scopes: nothing here accepts them.
admin.site.unregister(APIKey)
admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(FoldedSearch, BaseUserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(BaseGroupAdmin, ModelAdmin):
    """The roles; see `billing_worker.accounts.roles`."""
