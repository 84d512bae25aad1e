"""Usage and meter events to look at. Services are the only writers, so everything here is read-only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from metering.models import MeterEvent, SeamSetting, UsageFeed, UsageRecord


class ReadOnly:
    """No adding, changing or deleting by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class UsageRecordInline(ReadOnly, TabularInline):
    model = UsageRecord
    extra = 0
    fields = (
        "bucket_date",
        "usage_type",
        "revision",
        "quantity",
        "delta",
        "reason",
        "author",
        "rolled_up_at",
    )
    readonly_fields = fields
    ordering = ("bucket_date", "usage_type", "revision")


@admin.register(UsageFeed)
class UsageFeedAdmin(ReadOnly, ModelAdmin):
    """An account's month of usage, with every statement ever made about it."""

    list_display = ("account", "period", "granularity")
    list_filter = ("period", "granularity")
    search_fields = ("account__id", "account__name")
    list_select_related = ("account",)
    inlines = (UsageRecordInline,)


@admin.register(MeterEvent)
class MeterEventAdmin(ReadOnly, ModelAdmin):
    list_display = ("identifier", "account", "meter", "value", "at", "state", "attempts", "sent_at", "reason")
    list_filter = ("state", "period", "meter")
    search_fields = ("identifier", "account__name", "lane__customer")
    list_select_related = ("account", "lane")
    ordering = ("-at", "identifier")
    show_full_result_count = False


@admin.register(SeamSetting)
class SeamSettingAdmin(ReadOnly, ModelAdmin):
    list_display = ("account", "shadow", "bill_from", "changed_at")
    list_filter = ("shadow",)
    search_fields = ("account__id", "account__name")
    list_select_related = ("account",)
