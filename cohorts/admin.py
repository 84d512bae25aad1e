"""The console in which ops move cohorts and two people sign for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from billing_worker.accounts.search import FoldedSearch
from billing_worker.core.errors import BillingError
from cohorts.document_filters import CohortFilter, DriftFilter, link_cohort_and_drift
from cohorts.models import Cohort, CohortMember, Rollback, RollbackStep, SignOff, SubscriptionChange
from cohorts.page import build_cohort_page
from cohorts.rollback_views import retry_rollback, show_members, show_rollback, show_withdrawal
from cohorts.services import open_gate, reconcile_cohort, sign_off, start_dual_run
from invoices.admin import InvoiceDocumentAdmin
from invoices.document_page import add_links
from metering.console.seam_form import describe_change, show_seam_form
from metering.services.arming import SeamChange

STATE_LABELS = {
    "draft": "info",
    "ready": "info",
    "dual_run": "warning",
    "clean": "warning",
    "migrated": "success",
    "rolled_back": "danger",
}

InvoiceDocumentAdmin.add_filters(CohortFilter, DriftFilter)
add_links(link_cohort_and_drift)


class ReadOnlyAdmin(FoldedSearch, ModelAdmin):
    """Services write these rows; the console shows them and calls the services."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Cohort)
class CohortAdmin(ReadOnlyAdmin):
    list_display = ("name", "description", "show_state", "dual_run_period", "show_members", "migrated_at")
    list_filter = ("state", "dual_run_period")
    search_fields = ("name", "description")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Cohort]:
        found: QuerySet[Cohort] = super().get_queryset(request).annotate(member_count=Count("members"))
        return found

    @display(description="State", label=STATE_LABELS, ordering="state")
    def show_state(self, cohort: Cohort) -> tuple[str, str]:
        return cohort.state, cohort.get_state_display()

    @display(description="Accounts", ordering="member_count")
    def show_members(self, cohort: Any) -> int:
        count: int = cohort.member_count
        return count

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                f"<int:pk>/{name.replace('_', '-')}/",
                self.admin_site.admin_view(require_POST(view)),
                name=f"cohorts_cohort_{name}",
            )
            for name, view in (
                ("start_dual_run", self.start_dual_run_view),
                ("reconcile", self.reconcile_view),
                ("open_gate", self.open_gate_view),
                ("sign_off", self.sign_off_view),
                ("retry_rollback", retry_rollback),
            )
        ]
        seam = path("<int:pk>/seam/", self.admin_site.admin_view(self.seam_view), name="cohorts_cohort_seam")
        pages = [
            path(
                f"<int:pk>/{name}/",
                self.admin_site.admin_view(partial(show, site=self.admin_site)),
                name=f"cohorts_cohort_{name}",
            )
            for name, show in (
                ("rollback", show_rollback), ("withdraw", show_withdrawal), ("members", show_members),
            )
        ]  # fmt: skip
        return [*own, seam, *pages, *super().get_urls()]

    def seam_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The seam of the accounts that are members today."""
        cohort = get_object_or_404(Cohort, pk=pk)
        back = reverse("admin:cohorts_cohort_change", args=[pk])
        ids = list(cohort.members.order_by("account_id").values_list("account_id", flat=True))
        shown = show_seam_form(request, self.admin_site, back=back, whose=cohort.name, account_ids=ids)
        if isinstance(shown, SeamChange):
            messages.success(request, describe_change(shown))
            return redirect(back)
        return shown

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The cohort page: where it stands, what the gate sees, every account's figures, the signatures."""
        cohort = self.get_object(request, object_id)
        if cohort is None:
            raise Http404("no such cohort")
        if not self.has_view_permission(request, cohort):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": cohort,
            "title": f"Cohort {cohort.name}",
            "page": build_cohort_page(cohort=cohort, user=request.user, now=timezone.now()),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "cohorts/cohort_page.html", context)

    def start_dual_run_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._act(
            request, pk, "cohorts.run_cohort", "The dual run has started: Stripe bills, legacy runs in shadow.",
            lambda: start_dual_run(cohort_id=pk, actor=request.user.get_username(), now=timezone.now()),
        )  # fmt: skip

    def reconcile_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._act(
            request, pk, "cohorts.run_cohort", "Both ledgers were compared: the figures below are new.",
            lambda: reconcile_cohort(cohort_id=pk, actor=request.user.get_username(), now=timezone.now()),
        )  # fmt: skip

    def open_gate_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._act(
            request, pk, "cohorts.run_cohort", "The gate is open: two people can sign now.",
            lambda: open_gate(cohort_id=pk, actor=request.user.get_username(), now=timezone.now()),
        )  # fmt: skip

    def sign_off_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._act(
            request, pk, "cohorts.sign_off_cohort", "Your signature is recorded.",
            lambda: sign_off(
                cohort_id=pk,
                user=request.user,  # type: ignore[arg-type]
                evidence_hash=request.POST.get("evidence_hash", ""),
                now=timezone.now(),
            ),
        )  # fmt: skip

    def _act(
        self, request: HttpRequest, pk: int, permission: str, done: str, call: Callable[[], object]
    ) -> HttpResponse:
        """Check the permission, make the one call, tell how it went, and go back to the page."""
        get_object_or_404(Cohort, pk=pk)
        if not request.user.has_perm(permission):
            raise PermissionDenied
        try:
            call()
        except BillingError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, done)
        return redirect(reverse("admin:cohorts_cohort_change", args=[pk]))


@admin.register(CohortMember)
class CohortMemberAdmin(ReadOnlyAdmin):
    list_display = (
        "account",
        "cohort",
        "provisioning",
        "stripe_subscription_id",
        "provisioned_at",
        "released_at",
        "provisioning_error",
    )
    list_filter = ("cohort", "provisioning")
    search_fields = ("account__name", "account__id", "stripe_subscription_id")
    list_select_related = ("account", "cohort")


@admin.register(SubscriptionChange)
class SubscriptionChangeAdmin(ReadOnlyAdmin):
    """Plan changes become these: fees before the month they hold for, tier tables after its first hour."""

    list_display = ("account", "period", "summary", "show_state", "created_at", "settled_at", "error")
    list_filter = ("state", "period")
    search_fields = ("account__name", "account__id", "stripe_subscription_id", "summary")
    list_select_related = ("account",)

    @display(
        description="State",
        label={"pending": "warning", "applied": "success", "refused": "danger", "superseded": "info"},
        ordering="state",
    )
    def show_state(self, change: SubscriptionChange) -> tuple[str, str]:
        return change.state, change.get_state_display()


class RollbackStepInline(TabularInline):
    model = RollbackStep
    fields = ("payer", "period", "state", "stripe_subscription_id", "settled_at", "error")
    readonly_fields = fields
    extra = 0
    can_delete = False
    per_page = 50

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[RollbackStep]:
        found: QuerySet[RollbackStep] = super().get_queryset(request).select_related("payer")
        return found


@admin.register(Rollback)
class RollbackAdmin(ReadOnlyAdmin):
    """Every rollback there was, withdrawn ones too, with what had been signed for. Made on the cohort's page."""

    list_display = ("cohort", "from_period", "show_state", "requested_by", "requested_at", "reason")
    list_filter = ("state", "from_period")
    search_fields = ("cohort__name", "reason", "requested_by")
    list_select_related = ("cohort",)
    inlines: ClassVar = [RollbackStepInline]

    @display(
        description="State",
        label={"running": "warning", "done": "danger", "withdrawing": "warning", "withdrawn": "info"},
        ordering="state",
    )
    def show_state(self, rollback: Rollback) -> tuple[str, str]:
        return rollback.state, rollback.get_state_display()


@admin.register(SignOff)
class SignOffAdmin(ReadOnlyAdmin):
    list_display = ("cohort", "user", "role", "signed_at", "show_evidence", "voided_at", "void_reason")
    list_filter = ("cohort", "role")
    list_select_related: ClassVar = ["cohort", "user"]

    @display(description="Evidence", ordering="evidence_hash")
    def show_evidence(self, sign: SignOff) -> str:
        return sign.evidence_hash[:12]
