"""Alerts in the console: read, and close by hand."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.text import Truncator
from unfold.admin import ModelAdmin
from unfold.decorators import display

from billing_worker.accounts.pages import find_pages
from billing_worker.alerts.models import Alert
from billing_worker.alerts.services import resolve_alert_by_id
from billing_worker.alerts.states import Severity


@admin.register(Alert)
class AlertAdmin(ModelAdmin):
    list_display: ClassVar = [
        "subject", "name", "show_severity", "show_detail", "show_pages", "status", "last_raised_at",
    ]  # fmt: skip
    list_filter: ClassVar = ["status", "severity", "name"]
    search_fields: ClassVar = ["name", "subject", "detail"]
    date_hierarchy = "last_raised_at"
    actions: ClassVar = ["resolve"]
    empty_hint = "Nothing is wrong that we know of."
    fields: ClassVar = [
        "show_pages", "name", "subject", "severity", "status", "detail", "raised_count", "first_raised_at",
        "last_raised_at", "notified_at", "resolved_at", "resolved_by", "context",
    ]  # fmt: skip

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["show_pages", *(field.name for field in Alert._meta.fields)]

    @display(
        description="Severity", ordering="severity",
        label={Severity.CRITICAL: "danger", Severity.WARNING: "warning", Severity.INFO: "info"},
    )  # fmt: skip
    def show_severity(self, alert: Alert) -> tuple[str, str]:
        return alert.severity, alert.get_severity_display()

    @display(description="Detail")
    def show_detail(self, alert: Alert) -> str:
        return Truncator(alert.detail).chars(120)

    @display(description="Look at")
    def show_pages(self, alert: Alert) -> str:
        """What it is about, where something can be done."""
        pages = find_pages(alert.context)
        return format_html_join(", ", '<a class="underline" href="{1}">{0}</a>', pages) or "-"

    @admin.action(description="Resolve", permissions=["change"])
    def resolve(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        closed = sum(
            resolve_alert_by_id(alert_id=alert.pk, now=timezone.now(), by=request.user.get_username())
            for alert in queryset
        )
        messages.success(request, f"{closed} alert(s) resolved.")
