"""Addresses of the REST interface of invoices."""

from __future__ import annotations

from django.urls import path

from invoices.api.views import ManagedServicesView, ManagedServiceView

urlpatterns = [
    path("managed-services", ManagedServicesView.as_view(), name="managed-services"),
    path("managed-services/<str:reference>", ManagedServiceView.as_view(), name="managed-service"),
]
