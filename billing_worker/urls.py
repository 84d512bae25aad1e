"""All addresses. Composition only."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from billing_worker.health import get_health, get_metrics

# What the console shows is registered here and not at the start of every process (console.py).
admin.autodiscover()

urlpatterns = [
    path("", include("billing_worker.webhooks.urls")),
    path("", include("metering.urls")),
    path("invoices/", include("invoices.urls")),
    path("", include("invoices.api.urls")),
    path("admin/", admin.site.urls),
    path("healthz", get_health, name="health"),
    path("metrics", get_metrics, name="metrics"),
    path(
        "schema/", SpectacularAPIView.as_view(authentication_classes=[], permission_classes=[]), name="schema"
    ),
]
