"""Pulled days to look at; pulls are the only writers."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from metering.pulling.models import UsagePull


@admin.register(UsagePull)
class UsagePullAdmin(ModelAdmin):
    list_display = (
        *("source", "day", "state", "rows", "created", "restated", "refused"),
        *("completed_at", "pulled_at"),
    )
    list_filter = ("state", "source")
    date_hierarchy = "day"
    ordering: ClassVar = ["-day", "source"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: UsagePull | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: UsagePull | None = None) -> bool:
        return False
