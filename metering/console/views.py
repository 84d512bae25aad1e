"""The console's addresses for an account's month, and finding the account."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet, Value
from django.db.models.functions import Lower
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from billing_worker.accounts.models import Account
from billing_worker.accounts.selectors import get_account, get_now_for
from billing_worker.core.errors import BillingError
from billing_worker.core.periods import Period
from metering.console.page import build_usage_page
from metering.models import UsageFeed

PERMISSIONS: Final = ("metering.view_usagefeed", "accounts.view_account")
#: Accounts offered where a name fits more than one.
MATCHES_SHOWN: Final = 20
MAX_ID: Final = 2**63 - 1


def get_usage_urls(site: AdminSite) -> list[URLPattern]:
    """The search by account and month, and the page of one; both under the usage list's address."""

    def search(request: HttpRequest) -> HttpResponse:
        return show_search(request, site)

    def month(request: HttpRequest, account_id: int) -> HttpResponse:
        return show_month(request, site, account_id)

    return [
        path("month/", site.admin_view(search), name="metering_usagefeed_search"),
        path("month/<int:account_id>/", site.admin_view(month), name="metering_usagefeed_month"),
    ]


def show_month(request: HttpRequest, site: AdminSite, account_id: int) -> HttpResponse:
    """The page; `?period=2026-10` names the month, by default the newest that holds usage."""
    _check_permissions(request)
    try:
        account = get_account(min(account_id, MAX_ID))
        period = _choose_period(account, request.GET.get("period", ""))
    except BillingError as error:
        return _show_matches(request, site, problem=str(error), status=error.http_status)
    page = build_usage_page(account=account, period=period, now=timezone.now())
    context = _get_context(request, site, title=f"Usage of {account.name}") | {
        "page": page, "period": str(period), "account_text": str(account.pk)
    }  # fmt: skip
    return TemplateResponse(request, "metering/usage_page.html", context)


def show_search(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """Go to the month of the one account that fits, or offer those that do. An id fits before a name does."""
    _check_permissions(request)
    text = request.GET.get("account", "").strip()
    period = request.GET.get("period", "").strip()
    if not text:
        return _show_matches(request, site)
    found = list(_find_accounts(text)[: MATCHES_SHOWN + 1])
    if len(found) == 1:
        address = reverse("admin:metering_usagefeed_month", args=[found[0].pk])
        return redirect(f"{address}?{request.GET.urlencode()}" if period else address)
    problem = "" if found else f"No account has {text!r} as its id or in its name."
    return _show_matches(request, site, found=found[:MATCHES_SHOWN], problem=problem)


def _find_accounts(text: str) -> QuerySet[Account]:
    if text.isascii() and text.isdigit() and int(text) <= MAX_ID:
        by_id = Account.objects.filter(pk=int(text))
        if by_id.exists():
            return by_id
    # Both sides lowered by the database, whose idea of a letter's small form is not everywhere Python's.
    return Account.objects.filter(name__lower__contains=Lower(Value(text))).order_by("pk")


def _choose_period(account: Account, text: str) -> Period:
    """Raises InvalidInput if the text is not a month."""
    if text:
        return Period.parse(text)
    newest = UsageFeed.objects.filter(account=account).order_by("-period").first()
    return Period.parse(newest.period) if newest else Period.of(get_now_for(account, timezone.now()))


def _show_matches(
    request: HttpRequest, site: AdminSite, *, found: list[Account] | None = None, problem: str = "", status: int = 200
) -> HttpResponse:  # fmt: skip
    context = _get_context(request, site, title="Usage and bill of a month") | {
        "found": found or [],
        "problem": problem,
        "account_text": request.GET.get("account", ""),
        "period": request.GET.get("period", ""),
    }
    return TemplateResponse(request, "metering/usage_search.html", context, status=status)


def _get_context(request: HttpRequest, site: AdminSite, *, title: str) -> dict[str, Any]:
    return {**site.each_context(request), "title": title, "opts": UsageFeed._meta}


def _check_permissions(request: HttpRequest) -> None:
    """Raises PermissionDenied unless the person may see usage and accounts."""
    if not request.user.has_perms(PERMISSIONS):
        raise PermissionDenied
