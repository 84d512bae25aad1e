"""Sampled meters, their tiers and who is on which, in the console: added through the services, never edited."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from unfold.admin import ModelAdmin, TabularInline

from billing_worker.accounts.search import FoldedSearch
from billing_worker.catalog.sampled.forms import AddTierForm, DefineMeterForm, ServiceForm, SetPlanForm
from billing_worker.catalog.sampled.models import SampledMeter, SampledPlan, SampledTier


class AddedByServiceAdmin(FoldedSearch, ModelAdmin):
    """Rows are added with the `add` permission by `service_form`, and never changed or deleted."""

    service_form: ClassVar[type[ServiceForm]]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The service's form instead of the model's."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        back = reverse(f"admin:catalog_{self.opts.model_name}_changelist")
        is_sent = request.method == "POST"
        form = self.service_form(request.POST if is_sent else None)
        if is_sent and form.is_valid():
            done = form.apply(actor=request.user.get_username(), now=timezone.now())
            if done is not None:
                messages.success(request, done)
                return HttpResponseRedirect(back)
        context = {
            **self.admin_site.each_context(request),
            **(extra_context or {}),
            "title": form.title,
            "opts": self.opts,
            "form": form,
            "back": back,
        }
        return TemplateResponse(request, "catalog/sampled_form.html", context, status=422 if is_sent else 200)


class SampledTierInline(TabularInline):
    model = SampledTier
    extra = 0
    can_delete = False
    fields: ClassVar = ["name", "event_name", "prices_told"]
    readonly_fields: ClassVar = fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="Prices, minor units per unit")
    def prices_told(self, tier: SampledTier) -> str:
        return describe_prices(tier)


def describe_prices(tier: SampledTier) -> str:
    """`usd 0.5; eur 0.45`, with each step where there are several."""
    return (
        "; ".join(
            f"{price.currency} "
            + ", ".join(
                f"{row['unit_amount_decimal']}" + (f" to {row['up_to']:,}" if row["up_to"] else "")
                for row in price.tiers
            )
            for price in tier.prices.all()
        )
        or "none: counted, not billed"
    )


@admin.register(SampledMeter)
class SampledMeterAdmin(AddedByServiceAdmin):
    """Integral meters; `define_sampled_meter` makes them too."""

    service_form = DefineMeterForm
    list_display: ClassVar = ["name", "title", "quantity", "billing_mode", "bucket"]
    inlines: ClassVar = [SampledTierInline]


@admin.register(SampledTier)
class SampledTierAdmin(AddedByServiceAdmin):
    """Plan tiers with their prices: each has a Stripe meter of its own."""

    service_form = AddTierForm
    list_display: ClassVar = ["event_name", "meter", "name", "prices_told"]
    list_filter: ClassVar = ["meter"]
    list_select_related: ClassVar = ["meter"]
    search_fields: ClassVar = ["event_name"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("prices")

    @admin.display(description="Prices, minor units per unit")
    def prices_told(self, tier: SampledTier) -> str:
        return describe_prices(tier)


@admin.register(SampledPlan)
class SampledPlanAdmin(AddedByServiceAdmin):
    """Which tier an account's samples go to; `set_sampled_plan` says so too."""

    service_form = SetPlanForm
    list_display: ClassVar = ["account", "meter", "tier", "from_period"]
    list_filter: ClassVar = ["meter", "tier"]
    list_select_related: ClassVar = ["account", "meter", "tier"]
    search_fields: ClassVar = ["account__id", "account__name"]
