"""Samples in the console, read only."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from billing_worker.catalog.sampled.states import LENGTHS
from billing_worker.core.periods import Period
from metering.samples.clipping import format_bucket, get_bucket_start
from metering.samples.models import SampleBucket


@admin.register(SampleBucket)
class SampleBucketAdmin(ModelAdmin):
    """How much each account used of each sampled meter, hour by hour or day by day."""

    list_display = ("bucket", "account", "meter", "quantity", "parts", "revision", "is_open")
    list_filter = ("is_open", "feed__period", "feed__tier")
    search_fields = ("feed__account__id", "feed__account__name")
    list_select_related = ("feed__account", "feed__tier__meter")
    ordering = ("-feed__period", "feed__account_id", "-hour")
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[SampleBucket]:
        rows: QuerySet[SampleBucket] = super().get_queryset(request)
        return rows.select_related("feed__account", "feed__tier__meter")

    @admin.display(description="Bucket (UTC)", ordering="hour")
    def bucket(self, row: SampleBucket) -> str:
        start = get_bucket_start(Period.parse(row.feed.period), row.hour)
        return format_bucket(start, LENGTHS[row.feed.tier.meter.bucket])

    @admin.display(ordering="feed__account_id")
    def account(self, row: SampleBucket) -> str:
        return str(row.feed.account)

    @admin.display(ordering="feed__tier__event_name")
    def meter(self, row: SampleBucket) -> str:
        return row.feed.tier.title

    @admin.display(ordering="units")
    def quantity(self, row: SampleBucket) -> str:
        """In billed units, to a thousandth; what is stored is exact."""
        return f"{Decimal(row.units) / row.feed.tier.meter.units_per_billed:,.3f}"
