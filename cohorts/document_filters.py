"""Filters of the invoice list that need to know about cohorts and drift: only this floor sees both."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest

from cohorts.models import Cohort
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
        return queryset.filter(account__cohort_member__cohort__name=self.value())


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
