"""Meters, products and prices in the console; `catalog_apply` is the only writer."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from billing_worker.accounts.search import FoldedSearch
from billing_worker.catalog.models import (
    CatalogMeter,
    CatalogPrice,
    CatalogProduct,
    SampledMeter,
    SampledPlan,
    SampledTier,
)


class ReadOnlyAdmin(FoldedSearch, ModelAdmin):
    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(CatalogMeter)
class CatalogMeterAdmin(ReadOnlyAdmin):
    list_display: ClassVar = ["usage_type", "event_name", "stripe_meter_id"]


@admin.register(CatalogProduct)
class CatalogProductAdmin(ReadOnlyAdmin):
    list_display: ClassVar = ["kind", "name", "stripe_product_id"]


@admin.register(CatalogPrice)
class CatalogPriceAdmin(ReadOnlyAdmin):
    list_display: ClassVar = ["lookup_key", "kind", "currency", "unit_amount_decimal", "stripe_price_id"]
    list_filter: ClassVar = ["kind", "currency"]
    search_fields: ClassVar = ["lookup_key", "stripe_price_id"]


class SampledTierInline(TabularInline):
    model = SampledTier
    extra = 0
    can_delete = False
    fields: ClassVar = ["name", "event_name"]
    readonly_fields: ClassVar = ["name", "event_name"]

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(SampledMeter)
class SampledMeterAdmin(ReadOnlyAdmin):
    """Integral meters; `define_sampled_meter` makes them."""

    list_display: ClassVar = ["name", "title", "quantity", "billing_mode", "bucket"]
    inlines: ClassVar = [SampledTierInline]


@admin.register(SampledPlan)
class SampledPlanAdmin(ReadOnlyAdmin):
    """Which tier an account's samples go to; `set_sampled_plan` says so."""

    list_display: ClassVar = ["account", "meter", "tier", "from_period"]
    list_filter: ClassVar = ["meter", "tier"]
    list_select_related: ClassVar = ["account", "meter", "tier"]
    search_fields: ClassVar = ["account__id", "account__name"]
