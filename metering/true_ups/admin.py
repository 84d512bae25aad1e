"""True-ups in the console: what came late, what it costs and why, and the decision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import ActionForm
from unfold.widgets import UnfoldAdminTextInputWidget

from billing_worker.core.errors import BillingError
from billing_worker.core.money import format_minor
from metering.true_ups.deciding import approve_true_up, reject_true_up
from metering.true_ups.models import BilledUsage, TrueUp
from metering.true_ups.page import build_page
from metering.true_ups.states import WAITING_STATES, TrueUpState

DECIDE = "metering.decide_trueup"
Decision = Callable[..., TrueUp]


class DecisionForm(ActionForm):
    """The action and why."""

    reason = forms.CharField(
        label="",
        required=False,
        max_length=400,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "Why? Kept with the true-up."}),
    )


class _ReadOnly(ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(TrueUp)
class TrueUpAdmin(_ReadOnly):
    """Proposals first. The page of one shows the arithmetic tier by tier and takes the decision."""

    list_display = (
        "id", "account", "period", "meter", "show_units", "show_amount", "show_state", "proposed_at", "decided_by",
    )  # fmt: skip
    list_filter = ("state", "period", "meter", "currency")
    search_fields = ("account__id", "account__name", "reference", "stripe_object_id")
    list_select_related = ("account",)
    action_form = DecisionForm
    actions = ("approve", "reject")
    change_form_outer_before_template = "metering/true_up.html"
    fieldsets = (
        (
            "Details",
            {
                "classes": ["collapse"],
                "fields": ("payer", "period_start", "period_end", "stripe_invoice_id", "proposed_at", "reference",
                           "attempts", "stripe_object_id", "settled_at", "credited_invoice_id"),
            },
        ),
    )  # fmt: skip

    @display(
        description="State",
        label={
            TrueUpState.PROPOSED.label: "warning",
            TrueUpState.APPROVED.label: "info",
            TrueUpState.CALLING.label: "info",
            TrueUpState.SETTLED.label: "success",
            TrueUpState.REFUSED.label: "danger",
        },
    )
    def show_state(self, true_up: TrueUp) -> str:
        return str(TrueUpState(true_up.state).label)

    @admin.display(description="Late units", ordering="units")
    def show_units(self, true_up: TrueUp) -> str:
        return f"{true_up.units:+,}"

    @admin.display(description="Amount", ordering="amount_minor")
    def show_amount(self, true_up: TrueUp) -> str:
        return format_minor(true_up.amount_minor, true_up.currency)

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(DECIDE)

    @admin.action(description="Approve: bill or credit them", permissions=["decide"])
    def approve(self, request: HttpRequest, queryset: QuerySet[TrueUp]) -> None:
        # Oldest first: later ones build on earlier ones.
        for true_up in queryset.order_by("pk"):
            self._decide(request, true_up, approve_true_up)

    @admin.action(description="Reject: never bill these units", permissions=["decide"])
    def reject(self, request: HttpRequest, queryset: QuerySet[TrueUp]) -> None:
        for true_up in queryset.order_by("pk"):
            self._decide(request, true_up, reject_true_up)

    def _decide(self, request: HttpRequest, true_up: TrueUp, decision: Decision) -> None:
        try:
            decided = decision(
                true_up_id=true_up.pk,
                actor=request.user.get_username(),
                reason=request.POST.get("reason", ""),
                now=timezone.now(),
            )
        except BillingError as error:
            self.message_user(request, str(error), level=messages.ERROR)
        else:
            self.message_user(request, f"{decided} is {decided.state}", level=messages.SUCCESS)

    def get_urls(self) -> list[URLPattern]:
        decide = path(
            "<int:true_up_id>/decide/",
            self.admin_site.admin_view(self.decide_one),
            name="metering_trueup_decide",
        )
        return [decide, *super().get_urls()]

    def decide_one(self, request: HttpRequest, true_up_id: int) -> HttpResponse:
        """The two buttons of a true-up's page."""
        address = reverse("admin:metering_trueup_change", args=[true_up_id])
        true_up = TrueUp.objects.filter(pk=true_up_id).first()
        if request.method != "POST" or true_up is None:
            return redirect(address)
        if not self.has_decide_permission(request):
            self.message_user(request, "Only finance decides about true-ups.", level=messages.ERROR)
            return redirect(address)
        self._decide(
            request, true_up, approve_true_up if request.POST.get("decision") == "approve" else reject_true_up
        )
        return redirect(address)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        true_up = TrueUp.objects.filter(pk=object_id).first() if object_id.isdecimal() else None
        can_decide = (
            true_up is not None and true_up.state in WAITING_STATES and self.has_decide_permission(request)
        )
        page = build_page(true_up, can_decide=can_decide) if true_up is not None else None
        context = {**(extra_context or {}), "page": page}
        shown: HttpResponse = super().change_view(request, object_id, form_url, context)
        return shown


@admin.register(BilledUsage)
class BilledUsageAdmin(_ReadOnly):
    """Which stretches of which meters are billed, so that later usage of them is a true-up."""

    list_display = (
        "payer",
        "meter",
        "period_start",
        "period_end",
        "units",
        "stripe_invoice_id",
        "finalized_at",
    )
    list_filter = ("meter",)
    search_fields = ("payer__id", "payer__name", "stripe_invoice_id")
    list_select_related = ("payer",)
