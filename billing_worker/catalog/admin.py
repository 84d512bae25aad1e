"""Meters, products and prices in the console; `catalog_apply` is the only writer."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from billing_worker.accounts.search import FoldedSearch
from billing_worker.catalog.models import (
    CatalogMeter,
    CatalogPrice,
    CatalogProduct,
)
from billing_worker.catalog.sampled.admin import SampledMeterAdmin as SampledMeterAdmin
from billing_worker.catalog.sampled.admin import SampledPlanAdmin as SampledPlanAdmin
from billing_worker.catalog.sampled.admin import SampledTierAdmin as SampledTierAdmin


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
