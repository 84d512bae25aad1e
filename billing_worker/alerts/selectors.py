"""Reading alerts."""

from __future__ import annotations

from django.db.models import Count, QuerySet

from billing_worker.alerts.models import Alert
from billing_worker.alerts.states import AlertStatus, Severity


def list_open_alerts() -> QuerySet[Alert]:
    """What is wrong now, newest first."""
    return Alert.objects.filter(status=AlertStatus.OPEN)


def list_unnotified_alerts(*, limit: int) -> list[Alert]:
    """Open alerts that Slack has not taken, oldest first."""
    return list(list_open_alerts().filter(notified_at__isnull=True).order_by("pk")[:limit])


def count_open_alerts() -> dict[str, int]:
    """Open alerts by severity; every severity is there."""
    counts = dict.fromkeys(Severity.values, 0)
    counts.update(list_open_alerts().order_by().values_list("severity").annotate(count=Count("pk")))
    return counts
