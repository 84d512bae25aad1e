"""Customers in the console: a list by state, and the panel *At Stripe* on an account's page."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.decorators import display

from billing_worker.accounts.models import Account
from billing_worker.accounts.search import FoldedSearch
from billing_worker.core.errors import BillingError
from billing_worker.customers.models import CustomerSync
from billing_worker.customers.page import build_customer_page
from billing_worker.customers.services import SyncResult, decide_difference, sync_account
from billing_worker.customers.states import SyncState

CHANGE = "accounts.change_account"
#: What the buttons' outcome is told as; anything else is information.
_LEVELS = {
    "changed": messages.SUCCESS,
    "unchanged": messages.SUCCESS,
    "differs": messages.WARNING,
    "refused": messages.ERROR,
    "failed": messages.ERROR,
}
_WORDS = {
    "changed": "Written to Stripe",
    "unchanged": "In step with Stripe",
    "differs": "Changed at Stripe, left as it is",
    "refused": "Stripe refused something",
    "failed": "Not in step",
    "waiting": "Not looked at",
}


class AtStripe(ModelAdmin):
    """Mixed into the accounts' admin: the panel, and what its buttons do."""

    change_form_outer_before_template = "customers/at_stripe.html"

    def get_urls(self) -> list[URLPattern]:
        def route(name: str, view: Any) -> URLPattern:
            guarded = self.admin_site.admin_view(require_POST(view))
            found: URLPattern = path(f"<int:account_id>/at-stripe/{name}/", guarded, name=f"customers_{name}")
            return found

        return [
            route("look", self.look_at_stripe),
            route("decide", self.decide_at_stripe),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        account = Account.objects.filter(pk=object_id).first() if object_id.isdecimal() else None
        context = {
            **(extra_context or {}),
            "at_stripe": build_customer_page(account) if account else None,
            "may_change_customer": request.user.has_perm(CHANGE),
        }
        shown: HttpResponse = super().change_view(request, object_id, form_url, context)
        return shown

    def look_at_stripe(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """Read the customer now, write what is ours, and ask again for what was refused."""
        _check(request)
        self._sync(request, account_id, asks_again=True)
        return _go_back(account_id)

    def decide_at_stripe(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """A field that was changed at Stripe: ours is written over it, or Stripe's is left."""
        _check(request)
        field, side = request.POST.get("field", ""), request.POST.get("side")
        try:
            decide_difference(
                account_id=account_id,
                field=field,
                side="ours" if side == "ours" else "theirs",
                actor=request.user.get_username(),
                reason=request.POST.get("reason", ""),
                now=timezone.now(),
            )
        except BillingError as error:
            messages.error(request, str(error))
            return _go_back(account_id)
        self._sync(request, account_id, overwrite=(field,) if side == "ours" else ())
        return _go_back(account_id)

    def _sync(self, request: HttpRequest, account_id: int, **options: Any) -> None:
        try:
            result = sync_account(
                account_id=account_id, actor=request.user.get_username(), now=timezone.now(), **options
            )
        except BillingError as error:
            messages.error(request, str(error))
        else:
            _tell(request, result)


@admin.register(CustomerSync)
class CustomerSyncAdmin(FoldedSearch, ModelAdmin):
    """Which customers are in step. A row leads to its account's page."""

    list_display: ClassVar = ["account", "show_state", "show_reason", "synced_at", "read_at"]
    list_filter: ClassVar = ["state"]
    list_select_related: ClassVar = ["account"]
    search_fields: ClassVar = ["account__id", "account__name", "account__stripe_customer_id"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    @display(
        description="State",
        label={
            SyncState.SYNCED.label: "success",
            SyncState.DIFFERS.label: "warning",
            SyncState.REFUSED.label: "danger",
            SyncState.FAILED.label: "danger",
        },
    )
    def show_state(self, row: CustomerSync) -> str:
        return str(SyncState(row.state).label)

    @admin.display(description="Why")
    def show_reason(self, row: CustomerSync) -> str:
        return row.error or "; ".join(refusal["reason"] for refusal in row.refused.values()) or "-"

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = CustomerSync.objects.filter(pk=object_id).first() if object_id.isdecimal() else None
        if row is None or not self.has_view_permission(request, row):
            shown: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
            return shown
        return _go_back(row.account_id)


def _check(request: HttpRequest) -> None:
    if not request.user.has_perm(CHANGE):
        raise PermissionDenied


def _tell(request: HttpRequest, result: SyncResult) -> None:
    words = _WORDS.get(result.outcome, result.outcome)
    messages.add_message(
        request,
        _LEVELS.get(result.outcome, messages.INFO),
        f"{words}: {result.detail}" if result.detail else f"{words}.",
    )


def _go_back(account_id: int) -> HttpResponse:
    return redirect(reverse("admin:accounts_account_change", args=[account_id]))
