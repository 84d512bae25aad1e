"""Telling Slack, at once and again by the sweep."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from billing_worker.alerts.models import Alert
from billing_worker.alerts.selectors import list_unnotified_alerts
from billing_worker.alerts.services import record_notified
from billing_worker.alerts.slack import post_alert


@shared_task(name="alerts.notify")
def notify(alert_id: int) -> None:
    """Post one alert that nobody was told about yet."""
    alert = Alert.objects.filter(pk=alert_id, notified_at__isnull=True).first()
    if alert is not None and post_alert(alert):
        record_notified(alert_id=alert.pk, now=timezone.now())


@shared_task(name="alerts.sweep")
def sweep() -> None:
    """Post the open alerts whose first try was lost."""
    if settings.ENV.SLACK_WEBHOOK_URL is None:
        return
    for alert in list_unnotified_alerts(limit=20):
        notify(alert.pk)
