"""The console's pages that hand a cohort back, take that back, and change a draft's members."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from billing_worker.alerts.kicks import kick
from billing_worker.core.errors import BillingError
from billing_worker.core.periods import Period
from cohorts.models import Cohort, Rollback
from cohorts.parsing import parse_account_ids
from cohorts.rollback_page import PERMISSION, MembersForm, ReasonForm, list_offered_months, name_month
from cohorts.rolling_back import plan_rollback
from cohorts.services import change_members, request_rollback, withdraw_rollback
from cohorts.services.membership import require_draft
from cohorts.services.rollback import TASK, require_rollback


def show_rollback(request: HttpRequest, site: AdminSite, pk: int) -> HttpResponse:
    """What a rollback would do to each payer, with the form that makes it. `?from=2027-01` shows another month."""
    cohort = get_object_or_404(Cohort, pk=pk)
    _require(request, PERMISSION)
    is_sent = request.method == "POST"
    form = ReasonForm(request.POST if is_sent else None)
    try:
        require_rollback(cohort)
        given = (request.POST if is_sent else request.GET).get("from", "")
        plan = plan_rollback(cohort=cohort, period=Period.parse(given) if given else None, now=timezone.now())
        if is_sent and form.is_valid():
            request_rollback(
                cohort_id=pk, period=plan.period, reason=form.cleaned_data["reason"],
                actor=_name(request), now=timezone.now(),
            )  # fmt: skip
            messages.success(
                request,
                f"Legacy bills {cohort.name} from {name_month(plan.period)} on. A worker tells Stripe now; see below.",
            )
            return _go_back(pk)
    except BillingError as error:
        messages.error(request, str(error))
        return _go_back(pk)
    context = {
        "plan": plan,
        "month": name_month(plan.period),
        "last_month": name_month(plan.last_period),
        "months": list_offered_months(plan),
        "signatures": cohort.sign_offs.filter(voided_at__isnull=True).count(),
    }
    return _show(request, site, "cohorts/rollback_form.html", cohort, form, context)


def show_withdrawal(request: HttpRequest, site: AdminSite, pk: int) -> HttpResponse:
    """What withdrawing means, with the form that does it."""
    cohort = get_object_or_404(Cohort, pk=pk)
    _require(request, PERMISSION)
    rollback = get_object_or_404(Rollback, open_cohort=cohort)
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            withdraw_rollback(
                cohort_id=pk, reason=form.cleaned_data["reason"], actor=_name(request), now=timezone.now()
            )
            messages.success(request, "The rollback is withdrawn. A worker tells Stripe now; see below.")
        except BillingError as error:
            messages.error(request, str(error))
        return _go_back(pk)
    context = {
        "rollback": rollback,
        "month": name_month(rollback.from_period),
        "payers": rollback.steps.count(),
    }
    return _show(request, site, "cohorts/withdraw_form.html", cohort, form, context)


def retry_rollback(request: HttpRequest, pk: int) -> HttpResponse:
    """Wake a worker for what is left of a rollback."""
    rollback = get_object_or_404(Rollback, open_cohort=pk)
    _require(request, PERMISSION)
    kick(TASK, rollback.pk)
    messages.success(request, "A worker tries what is left; look again in a moment.")
    return _go_back(pk)


def show_members(request: HttpRequest, site: AdminSite, pk: int) -> HttpResponse:
    """The form that changes who is in a draft."""
    cohort = get_object_or_404(Cohort, pk=pk)
    _require(request, "cohorts.change_cohort")
    form = MembersForm(request.POST if request.method == "POST" else None)
    try:
        require_draft(cohort)
    except BillingError as error:
        messages.error(request, str(error))
        return _go_back(pk)
    if form.is_bound and form.is_valid() and _change_members(request, pk, form):
        return _go_back(pk)
    members = cohort.members.select_related("account__parent").order_by("account_id")
    return _show(request, site, "cohorts/members_form.html", cohort, form, {"members": members})


def _change_members(request: HttpRequest, pk: int, form: MembersForm) -> bool:
    """Whether they were changed; else the reason is at its field."""
    given = form.cleaned_data
    try:
        changed = change_members(
            cohort_id=pk,
            add=parse_account_ids(given["add"], name="This field", field="add"),
            remove=parse_account_ids(given["remove"], name="This field", field="remove"),
            actor=_name(request),
            reason=given["reason"],
            now=timezone.now(),
        )
    except BillingError as error:
        named = next(iter(getattr(error, "fields", {})), "")
        form.add_error(named if named in form.fields else None, str(error))
        return False
    count = changed.members.count()
    messages.success(request, f"{changed.name} has {count} account{'' if count == 1 else 's'}.")
    return True


def _show(
    request: HttpRequest, site: AdminSite, template: str, cohort: Cohort, form: Any, context: dict[str, Any]
) -> HttpResponse:
    shared = {
        **site.each_context(request),
        "opts": Cohort._meta,
        "title": f"Cohort {cohort.name}",
        "original": cohort,
        "cohort": cohort,
        "form": form,
        "back": reverse("admin:cohorts_cohort_change", args=[cohort.pk]),
        **context,
    }
    return TemplateResponse(request, template, shared, status=422 if form.is_bound else 200)


def _require(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(permission):
        raise PermissionDenied


def _name(request: HttpRequest) -> str:
    return request.user.get_username()


def _go_back(pk: int) -> HttpResponse:
    return redirect(reverse("admin:cohorts_cohort_change", args=[pk]))
