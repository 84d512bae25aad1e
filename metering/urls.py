"""Addresses of metering."""

from __future__ import annotations

from django.urls import path

from metering.api.views import PeriodUsageView, UsageView

urlpatterns = [
    path("usage", UsageView.as_view(), name="usage"),
    path("usage/<int:account_id>/<str:period>", PeriodUsageView.as_view(), name="period-usage"),
]
