"""Filters of the invoice list that need to know about cohorts and drift: only this floor sees both."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.urls import reverse

from cohorts.models import Cohort
from invoices.document_page import Link
from invoices.models import InvoiceDocument
from reconciliation.models import Drift
from reconciliation.states import DriftState


class CohortFilter(admin.SimpleListFilter):
    """Documents of accounts that move with a cohort."""

    title = "cohort"
    parameter_name = "cohort"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(cohort.name, cohort.name) for cohort in Cohort.objects.all()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        return queryset.filter(account__cohort_members__cohort__name=self.value())


class DriftFilter(admin.SimpleListFilter):
    """Documents whose account has an open drift in the document's month, and those without."""

    title = "drift"
    parameter_name = "drift"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open drift in its month"), ("none", "No open drift")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        drifts = Drift.objects.filter(
            account=OuterRef("account"), period=OuterRef("period"), state=DriftState.OPEN
        )
        if self.value() == "open":
            return queryset.filter(Exists(drifts))
        if self.value() == "none":
            return queryset.filter(~Exists(drifts))
        return queryset


def link_cohort_and_drift(document: InvoiceDocument) -> list[Link]:
    """From a document's page to the cohort of its account and to the drifts of its month."""
    links = []
    cohort = Cohort.objects.filter(members__account=document.account_id).first()
    if cohort is not None:
        links.append(Link(f"Cohort {cohort.name}", reverse("admin:cohorts_cohort_change", args=[cohort.pk])))
    drifts = Drift.objects.filter(account=document.account_id, period=document.period)
    open_drifts = drifts.filter(state=DriftState.OPEN).count()
    if drifts.exists():
        page = reverse("admin:reconciliation_drift_changelist")
        title = f"{open_drifts} open drift{'' if open_drifts == 1 else 's'}" if open_drifts else "Drifts"
        links.append(
            Link(
                f"{title} of {document.period}",
                f"{page}?account__id__exact={document.account_id}&period={document.period}",
                "danger" if open_drifts else "",
            )
        )
    return links
