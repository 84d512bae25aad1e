"""Addresses of metering."""

from __future__ import annotations

from django.urls import path

from metering.api.completions import CompletionsView
from metering.api.internal import RollUpRunView, RollUpView
from metering.api.parity import UsageParityView
from metering.api.samples import SamplesView
from metering.api.views import PeriodUsageView, UsageView

urlpatterns = [
    path("internal/rollup", RollUpView.as_view(), name="rollup"),
    path("internal/rollup/run", RollUpRunView.as_view(), name="rollup-run"),
    path("internal/usage-parity", UsageParityView.as_view(), name="usage-parity"),
    path("usage", UsageView.as_view(), name="usage"),
    path("usage/completions", CompletionsView.as_view(), name="usage-completions"),
    path("usage/samples", SamplesView.as_view(), name="usage-samples"),
    path("usage/<int:account_id>/<str:period>", PeriodUsageView.as_view(), name="period-usage"),
]
