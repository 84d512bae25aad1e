"""Runs and drifts in the console: read only, but for taking a drift on and accepting it with a reason."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget

from billing_worker.accounts.search import FoldedSearch
from billing_worker.core.errors import BillingError
from billing_worker.core.money import format_minor
from reconciliation.models import AccountResult, Drift, DriftEvent, ReconciliationRun
from reconciliation.services import accept_drift, assign_drift


class ReadOnlyMixin:
    """Services write these rows; the console only shows them."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class AmountsMixin:
    """The two sides and their difference as money."""

    @display(description="Legacy")
    def legacy(self, row: AccountResult | Drift) -> str:
        return format_minor(row.legacy_minor, row.currency)

    @display(description="Stripe")
    def stripe(self, row: AccountResult | Drift) -> str:
        return format_minor(row.stripe_minor, row.currency)

    @display(description="Difference")
    def difference(self, row: AccountResult | Drift) -> str:
        return format_minor(row.difference_minor, row.currency)


class AccountResultInline(ReadOnlyMixin, AmountsMixin, TabularInline):
    model = AccountResult
    fields = ("account", "biller", "legacy", "stripe", "difference", "drift_count")
    readonly_fields = fields
    ordering = ("-drift_count", "account_id", "currency")
    tab = True
    per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[AccountResult]:
        found: QuerySet[AccountResult] = super().get_queryset(request).select_related("account")
        return found


@admin.register(ReconciliationRun)
class ReconciliationRunAdmin(ReadOnlyMixin, ModelAdmin):
    list_display = (
        "id",
        "period",
        "show_scope",
        "show_state",
        "accounts_checked",
        "accounts_with_drift",
        "finished_at",
    )
    list_filter = ("state", "period", "scope")
    inlines: ClassVar = [AccountResultInline]

    @display(description="Scope", ordering="scope")
    def show_scope(self, run: ReconciliationRun) -> str:
        return run.scope or "all accounts"

    @display(
        description="State",
        ordering="state",
        label={"finished": "success", "failed": "danger", "running": "info"},
    )
    def show_state(self, run: ReconciliationRun) -> tuple[str, str]:
        return run.state, run.get_state_display()


class DriftEventInline(ReadOnlyMixin, TabularInline):
    model = DriftEvent
    fields = ("at", "actor", "state", "cause", "difference", "note")
    readonly_fields = fields
    tab = True

    @display(description="Difference")
    def difference(self, event: DriftEvent) -> str:
        return format_minor(event.difference_minor, event.drift.currency)


class AcceptDriftForm(forms.Form):
    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget,
        help_text="Why the two sides differ, and who put it right. It stays on record.",
    )


@admin.register(Drift)
class DriftAdmin(ReadOnlyMixin, AmountsMixin, FoldedSearch, ModelAdmin):
    list_display = (
        "account", "period", "kind", "show_state", "show_cause", "legacy", "stripe", "difference", "owner",
    )  # fmt: skip
    list_filter = ("state", "cause", "period", "kind", ("owner", admin.RelatedOnlyFieldListFilter))
    search_fields = ("account__name", "account__id", "explanation")
    list_select_related = ("account", "owner")
    fields = (
        ("account", "period"), ("kind", "state"), ("cause", "owner"), "explanation",
        ("legacy", "stripe", "difference"), "accepted_reason", ("first_run", "last_run"),
    )  # fmt: skip
    readonly_fields = ("legacy", "stripe", "difference")
    inlines: ClassVar = [DriftEventInline]
    actions_detail: ClassVar = ["show_documents", "show_usage", "accept"]
    empty_hint = "Both sides came to the same money."

    @display(
        description="State",
        ordering="state",
        label={"open": "danger", "accepted": "warning", "resolved": "success"},
    )
    def show_state(self, drift: Drift) -> tuple[str, str]:
        return drift.state, drift.get_state_display()

    @display(description="Cause", ordering="cause")
    def show_cause(self, drift: Drift) -> str:
        return drift.get_cause_display()

    @action(description="Invoices", url_path="documents")
    def show_documents(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """To the documents of the account's month."""
        drift = get_object_or_404(Drift, pk=object_id)
        page = reverse("admin:invoices_invoicedocument_changelist")
        return redirect(f"{page}?account__id__exact={drift.account_id}&period={drift.period}")

    @action(description="Usage and bill", url_path="usage")
    def show_usage(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """To the account's month as metering has it."""
        drift = get_object_or_404(Drift, pk=object_id)
        page = reverse("admin:metering_usagefeed_month", args=[drift.account_id])
        return redirect(f"{page}?period={drift.period}")

    @action(description="Take on or accept", permissions=["accept"], url_path="accept")
    def accept(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """A page with both: to say who looks into the drift, or to accept it with a reason. Only a POST changes it."""
        drift = get_object_or_404(Drift.objects.select_related("account", "owner"), pk=object_id)
        is_taking_on = "take_on" in request.POST
        form = AcceptDriftForm(request.POST if request.method == "POST" and not is_taking_on else None)
        if is_taking_on or form.is_valid():
            return self._act(request, drift, None if is_taking_on else form.cleaned_data["reason"])
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "form": form,
            "drift": drift,
            "title": f"Accept: {drift}",
        }
        return render(request, "reconciliation/accept_drift.html", context)

    def _act(self, request: HttpRequest, drift: Drift, reason: str | None) -> HttpResponse:
        """Take the drift on, or accept it if there is a reason; tell how it went, and go back to its page."""
        user, now = request.user, timezone.now()
        assert isinstance(user, User), "admin_view lets nobody else in"
        try:
            if reason is None:
                assign_drift(drift_id=drift.pk, owner=user, actor=user.get_username(), now=now)
                done = "The drift is yours to look into."
            else:
                accept_drift(drift_id=drift.pk, user=user, reason=reason, now=now)
                done = "The drift is accepted; it still counts until a run finds it gone."
        except BillingError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, done)
        return redirect(reverse("admin:reconciliation_drift_change", args=[drift.pk]))

    def has_accept_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return request.user.has_perm("reconciliation.accept_drift")
