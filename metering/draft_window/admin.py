"""Held drafts with their reasons, and what senders declared complete."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import ActionForm
from unfold.widgets import UnfoldAdminTextInputWidget

from billing_worker.core.errors import BillingError
from metering.draft_window.models import DraftHold, UsageCompletion
from metering.draft_window.services import request_release
from metering.draft_window.states import HoldState

RELEASE = "metering.release_drafthold"


class _ReadOnly(ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReleaseForm(ActionForm):
    """The action and why."""

    reason = forms.CharField(
        label="",
        required=False,
        max_length=400,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "Why? Kept with the hold."}),
    )


@admin.register(DraftHold)
class DraftHoldAdmin(_ReadOnly):
    """One row for each draft that bills usage: why it is held, and how it was let go."""

    list_display = (
        "stripe_invoice_id",
        "account",
        "period",
        "show_state",
        "show_why",
        "held_at",
        "released_at",
    )
    list_filter = ("state", "release_cause", "period")
    search_fields = ("stripe_invoice_id", "account__id", "account__name")
    list_select_related = ("account",)
    #: What is, why, and what came of it; below, how it came.
    fields = (
        "stripe_invoice_id", "account", "period", "drafted_at",
        "state", "show_reasons", "note", "release_cause", "requested_by", "request_reason",
        "held_at", "released_at", "finalized_at",
        "looked_at", "called_at", "next_attempt_at", "hold_attempts", "release_attempts", "created_at",
    )  # fmt: skip
    readonly_fields = ("show_reasons",)
    action_form = ReleaseForm
    actions = ("release_now",)

    @display(
        description="State",
        label={
            HoldState.PLANNED.label: "warning",
            HoldState.HOLDING.label: "warning",
            HoldState.HELD.label: "warning",
            HoldState.RELEASING.label: "warning",
            HoldState.RELEASED.label: "success",
            HoldState.MISSED.label: "danger",
            HoldState.OVERTAKEN.label: "danger",
        },
    )
    def show_state(self, hold: DraftHold) -> str:
        return str(HoldState(hold.state).label)

    @admin.display(description="Why")
    def show_why(self, hold: DraftHold) -> str:
        if hold.state == HoldState.RELEASED:
            return str(hold.get_release_cause_display())
        if not hold.reasons:
            return hold.note or "usage complete"
        more = f" (+{len(hold.reasons) - 1})" if len(hold.reasons) > 1 else ""
        return f"{hold.reasons[0]}{more}"

    @admin.display(description="Usage is not complete because")
    def show_reasons(self, hold: DraftHold) -> str:
        return format_html_join("", "<div>{}</div>", ((text,) for text in hold.reasons)) or "it is complete"

    def has_release_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(RELEASE)

    @admin.action(description="Release now, complete or not", permissions=["release"])
    def release_now(self, request: HttpRequest, queryset: QuerySet[DraftHold]) -> None:
        for hold in queryset:
            try:
                request_release(
                    hold_id=hold.pk,
                    actor=request.user.get_username(),
                    reason=request.POST.get("reason", ""),
                    now=timezone.now(),
                )
            except BillingError as error:
                self.message_user(request, str(error), level=messages.ERROR)
            else:
                self.message_user(
                    request, f"{hold.stripe_invoice_id} will be released", level=messages.SUCCESS
                )


@admin.register(UsageCompletion)
class UsageCompletionAdmin(_ReadOnly):
    """Which months were declared complete, by whom."""

    list_display = ("period", "scope", "account", "declared_by", "declared_at")
    list_filter = ("period",)
    search_fields = ("scope", "account__name", "declared_by")
    list_select_related = ("account",)
