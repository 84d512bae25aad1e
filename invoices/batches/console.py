"""A batch in the console: how far it is, and what was refused."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin
from unfold.decorators import display

from invoices.batches.models import DocumentBatch, ItemState

#: Seconds after which the page looks again while something waits.
REFRESH_SECONDS: Final = 2


class DocumentBatchAdmin(ModelAdmin):
    """Read only: a batch is started from the list of documents."""

    list_display: ClassVar = [
        "__str__", "reason", "requested_by", "requested_at", "show_done", "show_refused", "show_waiting",
    ]  # fmt: skip
    list_filter: ClassVar = ["action"]
    fieldsets: ClassVar = [
        (
            "The record",
            {"classes": ["collapse"], "fields": ["action", "reason", "requested_by", "requested_at"]},
        )
    ]
    empty_hint = "Choose rows in the list of documents, then what to do with them and why."
    change_form_outer_before_template = "invoices/admin/batch.html"

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[DocumentBatch] = super().get_queryset(request)
        return queryset.annotate(
            **{
                state.value: Count("items", filter=Q(items__state=state))
                for state in (ItemState.DONE, ItemState.REFUSED, ItemState.WAITING)
            }
        )

    @display(description="Done")
    def show_done(self, batch: Any) -> int:
        return int(batch.done)

    @display(description="Refused")
    def show_refused(self, batch: Any) -> int:
        return int(batch.refused)

    @display(description="Waiting")
    def show_waiting(self, batch: Any) -> int:
        return int(batch.waiting)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        batch = self.get_object(request, object_id)
        context = dict(extra_context or {})
        if batch is not None:
            items = batch.items.select_related("document__account", "mail", "made").defer(
                "document__content", "made__content"
            )
            context |= {
                "batch": batch,
                "items": items,
                "total": batch.done + batch.refused + batch.waiting,
                "settled": batch.done + batch.refused,
                "refresh_seconds": REFRESH_SECONDS,
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        if batch is not None and batch.waiting:
            response["Refresh"] = str(REFRESH_SECONDS)
        return response
