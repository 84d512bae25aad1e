"""Filters of the document list."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from billing_worker.accounts.locales import LOCALE_CHOICES
from billing_worker.accounts.models import Account
from invoices.attention import ANY, NEEDS, filter_needing
from invoices.selectors import annotate_mail_state
from invoices.states import MailState


class DeliveryFilter(admin.SimpleListFilter):
    """Documents by the state of their newest mail: one that bounced and was sent again is where the later one is."""

    title = "delivery"
    parameter_name = "delivery"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("none", "No mail"), *((state.value, str(state.label)) for state in MailState)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        documents = annotate_mail_state(queryset)
        if self.value() == "none":
            return documents.filter(mail_state__isnull=True)
        return documents.filter(mail_state=self.value())


class NeedsFilter(admin.SimpleListFilter):
    """Documents that wait for a person, and for what."""

    title = "needs a person"
    parameter_name = "needs"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(ANY, "For any reason"), *((need.key, need.title) for need in NEEDS)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        key = self.value()
        return filter_needing(queryset, key) if key else queryset


class CurrencyFilter(admin.SimpleListFilter):
    """The currencies that accounts have: looking through all documents for theirs takes seconds."""

    title = "currency"
    parameter_name = "currency"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        codes = Account.objects.order_by("currency").values_list("currency", flat=True).distinct()
        return [(code, code.upper()) for code in codes]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(currency=self.value()) if self.value() else queryset


class LocaleFilter(admin.SimpleListFilter):
    """The locales that documents can be printed in."""

    title = "locale"
    parameter_name = "locale"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return LOCALE_CHOICES

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(locale=self.value()) if self.value() else queryset
