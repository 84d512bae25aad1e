"""Usage and meter events in the console. Services are the only writers; the actions call them with a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action

from billing_worker.accounts.forms import ReasonForm
from billing_worker.accounts.search import FoldedSearch, IndexedSearch
from billing_worker.core.errors import BillingError
from metering.console.seam_form import PERMISSION, describe_change, show_seam_form
from metering.console.views import get_usage_urls
from metering.draft_window.admin import DraftHoldAdmin as DraftHoldAdmin
from metering.draft_window.admin import UsageCompletionAdmin as UsageCompletionAdmin
from metering.models import MeterEvent, SeamSetting, UsageFeed, UsageRecord
from metering.parity.admin import ParityCheckAdmin as ParityCheckAdmin
from metering.pulling.admin import UsagePullAdmin as UsagePullAdmin
from metering.samples.admin import SampleBucketAdmin as SampleBucketAdmin
from metering.services.arming import SeamChange
from metering.services.decisions import give_up_events, mark_not_sent, mark_sent, retry_events
from metering.true_ups.admin import BilledUsageAdmin as BilledUsageAdmin
from metering.true_ups.admin import TrueUpAdmin as TrueUpAdmin

DECIDE = "metering.decide_meterevent"


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
class UsageFeedAdmin(ReadOnly, FoldedSearch, ModelAdmin):
    """An account's month of usage, with every statement ever made about it."""

    list_display = ("account", "period", "granularity", "show_month")
    list_filter = ("period", "granularity")
    search_fields = ("account__id", "account__name")
    list_select_related = ("account",)
    inlines = (UsageRecordInline,)
    actions_list = ("find_month",)

    @action(description="Find an account's month", url_path="find")
    def find_month(self, request: HttpRequest) -> HttpResponse:
        return redirect("admin:metering_usagefeed_search")

    def get_urls(self) -> list[URLPattern]:
        return [*get_usage_urls(self.admin_site), *super().get_urls()]

    @admin.display(description="Month")
    def show_month(self, feed: UsageFeed) -> str:
        address = reverse("admin:metering_usagefeed_month", args=[feed.account_id])
        return format_html('<a href="{}?period={}">Chart and bill</a>', address, feed.period)


@admin.register(MeterEvent)
class MeterEventAdmin(ReadOnly, IndexedSearch, ModelAdmin):
    """The outbox. Who may decide about single events sees the actions; everybody sees the rows."""

    list_display = ("identifier", "account", "meter", "value", "at", "state", "attempts", "sent_at", "reason")
    list_filter = ("state", "period", "meter")
    search_fields = ("identifier", "=lane__customer")
    search_help_text = "Identifier, customer or address"
    list_select_related = ("account", "lane")
    ordering = ("-at", "identifier")
    show_full_result_count = False
    action_form = ReasonForm
    actions = ("retry", "resolve_as_sent", "resolve_as_not_sent", "give_up")

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(DECIDE)

    @admin.action(description="Retry (the cause is mended)", permissions=["decide"])
    def retry(self, request: HttpRequest, queryset: QuerySet[MeterEvent]) -> None:
        self._decide(request, queryset, retry_events, "will be sent again")

    @admin.action(description="Resolve: Stripe counted them", permissions=["decide"])
    def resolve_as_sent(self, request: HttpRequest, queryset: QuerySet[MeterEvent]) -> None:
        self._decide(request, queryset, mark_sent, "are marked sent")

    @admin.action(description="Resolve: Stripe did not count them", permissions=["decide"])
    def resolve_as_not_sent(self, request: HttpRequest, queryset: QuerySet[MeterEvent]) -> None:
        self._decide(request, queryset, mark_not_sent, "will be sent again")

    @admin.action(description="Give up: never bill them", permissions=["decide"])
    def give_up(self, request: HttpRequest, queryset: QuerySet[MeterEvent]) -> None:
        self._decide(request, queryset, give_up_events, "will never be billed")

    def _decide(
        self, request: HttpRequest, queryset: QuerySet[MeterEvent], service: Callable[..., int], done: str
    ) -> None:
        ids = list(queryset.values_list("pk", flat=True))
        try:
            count = service(
                ids=ids,
                actor=request.user.get_username(),
                reason=request.POST.get("reason", ""),
                now=timezone.now(),
            )
        except BillingError as error:
            self.message_user(request, str(error), level=messages.ERROR)
            return
        left = f"; {len(ids) - count} are in a state that doesn't allow it" if count < len(ids) else ""
        level = messages.SUCCESS if count else messages.WARNING
        self.message_user(request, f"{count} meter events {done}{left}", level=level)


@admin.register(SeamSetting)
class SeamSettingAdmin(ReadOnly, FoldedSearch, ModelAdmin):
    list_display = ("account", "shadow", "bill_from", "changed_at")
    list_filter = ("shadow",)
    search_fields = ("account__id", "account__name")
    list_select_related = ("account",)
    actions = ("change_selected",)
    actions_list = ("change_seam",)

    def has_move_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(PERMISSION)

    @admin.action(description="Change the seam of these accounts", permissions=["move"])
    def change_selected(self, request: HttpRequest, queryset: QuerySet[SeamSetting]) -> HttpResponse:
        ids = ",".join(str(pk) for pk in queryset.order_by("account_id").values_list("account_id", flat=True))
        return redirect(
            f"{reverse('admin:metering_seamsetting_change_seam_form')}?{urlencode({'accounts': ids})}"
        )

    @action(description="Change the seam", url_path="find-accounts", permissions=["move"])
    def change_seam(self, request: HttpRequest) -> HttpResponse:
        return redirect("admin:metering_seamsetting_change_seam_form")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.show_form)
        return [path("change-seam/", view, name="metering_seamsetting_change_seam_form"), *super().get_urls()]

    def show_form(self, request: HttpRequest) -> HttpResponse:
        back = reverse("admin:metering_seamsetting_changelist")
        shown = show_seam_form(request, self.admin_site, back=back)
        if isinstance(shown, SeamChange):
            messages.success(request, describe_change(shown))
            return redirect(back)
        return shown
