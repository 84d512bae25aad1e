"""The inbox in the console: read, and replay."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import ModelAdmin

from billing_worker.accounts.search import IndexedSearch
from billing_worker.webhooks.models import InboxEvent
from billing_worker.webhooks.services import replay_events


class SourceFilter(admin.SimpleListFilter):
    """How events came; looking through all of them for the words takes seconds."""

    title = "source"
    parameter_name = "source"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("webhook", "Webhook"), ("backfill", "Backfill")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(source=self.value()) if self.value() else queryset


@admin.register(InboxEvent)
class InboxEventAdmin(IndexedSearch, ModelAdmin):
    list_display: ClassVar = [
        "event_id", "type", "state", "object_id", "customer", "attempts", "event_created_at", "received_at",
        "processed_at",
    ]  # fmt: skip
    list_filter: ClassVar = ["state", SourceFilter, "type"]
    search_fields: ClassVar = ["event_id", "object_id", "customer", "type"]
    search_account = "customer"
    search_help_text = "Event, object, type, customer or address"
    date_hierarchy = "received_at"
    actions: ClassVar = ["replay"]
    exclude: ClassVar = ["claim_token"]
    #: The payload is a long text: lists never load it.
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[InboxEvent]:
        queryset: QuerySet[InboxEvent] = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and str(match.url_name).endswith("_changelist")
        return queryset.defer("payload", "last_error") if is_list else queryset

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in InboxEvent._meta.fields if field.name != "claim_token"]

    @admin.action(description="Process again", permissions=["change"])
    def replay(self, request: HttpRequest, queryset: QuerySet[InboxEvent]) -> None:
        count = replay_events(events=queryset, now=timezone.now())
        messages.success(
            request, f"{count} event(s) put back into the queue; those still in it were left alone."
        )
