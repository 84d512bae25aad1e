"""Parity checks to look at; checks are the only writers."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from metering.parity.models import ParityCheck, ParityResult


class ParityResultInline(TabularInline):
    model = ParityResult
    extra = 0
    can_delete = False
    per_page = 100
    fields = ("account_id", "meter", "ours", "theirs", "gross_difference", "tolerance_percent", "is_breach")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest, obj: ParityCheck | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ParityCheck | None = None) -> bool:
        return False


@admin.register(ParityCheck)
class ParityCheckAdmin(ModelAdmin):
    list_display = (
        *("checked_at", "source", "window_start_at", "window_end_at", "state", "compared", "breaches"),
        "is_scheduled",
    )
    list_filter = ("state", "source", "is_scheduled")
    date_hierarchy = "checked_at"
    ordering: ClassVar = ["-checked_at", "-id"]
    inlines = (ParityResultInline,)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ParityCheck | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ParityCheck | None = None) -> bool:
        return False
