"""Alerts to Slack's incoming webhook. The webhook's address is a secret: it is never logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
import structlog
from django.conf import settings

from billing_worker.alerts.metrics import ALERTS_UNDELIVERED
from billing_worker.alerts.models import Alert
from billing_worker.alerts.states import Severity
from billing_worker.settings.logs import mask_secrets

log = structlog.get_logger(__name__)

_TIMEOUT_SECONDS = (3, 10)
_SIGNS = {
    Severity.INFO: ":information_source:",
    Severity.WARNING: ":warning:",
    Severity.CRITICAL: ":rotating_light:",
}


def build_message(alert: Alert, *, public_url: str) -> Mapping[str, Any]:
    """Slack's message for an alert. Whatever looks like a key is masked, and markup in the data stays text."""
    title = f"{_SIGNS[Severity(alert.severity)]} *{_escape(alert.name)}*: {_escape(alert.subject)}"
    link = f"<{public_url.rstrip('/')}/admin/alerts/alert/{alert.pk}/change/|open in the console>"
    text = "\n".join(part for part in (title, _escape(alert.detail[:1500]), link) if part)
    return mask_secrets(None, "", {"text": text})


def post_alert(alert: Alert) -> bool:
    """Post one alert. False if Slack is not set up or did not take it; never raises for the network's sake."""
    env = settings.ENV
    if env.SLACK_WEBHOOK_URL is None:
        return False
    try:
        answer = requests.post(
            env.SLACK_WEBHOOK_URL.get_secret_value(),
            json=build_message(alert, public_url=env.PUBLIC_URL),
            timeout=_TIMEOUT_SECONDS,
        )
    except requests.RequestException as error:
        # The exception's text holds the address, which is the secret.
        ALERTS_UNDELIVERED.inc()
        log.warning("slack_unreachable", alert_id=alert.pk, error=type(error).__name__)
        return False
    if not answer.ok:
        ALERTS_UNDELIVERED.inc()
        log.warning("slack_refused", alert_id=alert.pk, status=answer.status_code)
    return answer.ok


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
