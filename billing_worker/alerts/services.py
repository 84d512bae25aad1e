"""Raise and resolve alerts. Safe in a transaction: the row is written with it, Slack hears after the commit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import F

from billing_worker.alerts.kicks import kick
from billing_worker.alerts.metrics import ALERTS_RAISED
from billing_worker.alerts.models import Alert
from billing_worker.alerts.states import AlertStatus, Severity

log = structlog.get_logger(__name__)

_LEVELS = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "error"}


def raise_alert(
    *,
    name: str,
    severity: str,
    subject: str,
    detail: str,
    now: datetime,
    context: Mapping[str, Any] | None = None,
) -> Alert:
    """Tell people about a problem, once while it is open.

    A second call with the same `(name, subject)` counts up, keeps the newest detail, and notifies again only if the
    severity has risen. `context` must be JSON-serializable and hold no secrets.
    """
    level = Severity(severity)
    ALERTS_RAISED.labels(name=name, severity=level.value).inc()
    getattr(log, _LEVELS[level])("alert_raised", alert=str(name), subject=subject, detail=detail)
    subject = subject[:200]
    with transaction.atomic():
        alert, is_new = _open(
            name=name, subject=subject, level=level, detail=detail, context=dict(context or {}), now=now
        )
        has_risen = False
        if not is_new:
            has_risen = _rank(level) > _rank(alert.severity)
            _count_up(
                alert, level=level if has_risen else None, detail=detail, context=dict(context or {}), now=now
            )
    if is_new or has_risen:
        kick("alerts.notify", alert.pk)
    return alert


def resolve_alert(*, name: str, subject: str, now: datetime, by: str = "system") -> bool:
    """Close the open alert with this name and subject. True if there was one."""
    closed = Alert.objects.filter(open_key=_make_key(name, subject[:200])).update(
        status=AlertStatus.RESOLVED, open_key=None, resolved_at=now, resolved_by=by
    )
    if closed:
        log.info("alert_resolved", alert=str(name), subject=subject, by=by)
    return bool(closed)


def resolve_alert_by_id(*, alert_id: int, now: datetime, by: str) -> bool:
    """Close one alert by hand. True if it was open."""
    return bool(
        Alert.objects.filter(pk=alert_id, status=AlertStatus.OPEN).update(
            status=AlertStatus.RESOLVED, open_key=None, resolved_at=now, resolved_by=by
        )
    )


def record_notified(*, alert_id: int, now: datetime) -> None:
    """Slack has taken the alert."""
    Alert.objects.filter(pk=alert_id).update(notified_at=now)


def _open(
    *, name: str, subject: str, level: Severity, detail: str, context: dict[str, Any], now: datetime
) -> tuple[Alert, bool]:
    key = _make_key(name, subject)
    existing = Alert.objects.filter(open_key=key).first()
    if existing is not None:
        return existing, False
    try:
        with transaction.atomic():
            created = Alert.objects.create(
                name=name,
                subject=subject,
                severity=level,
                detail=detail,
                context=context,
                open_key=key,
                first_raised_at=now,
                last_raised_at=now,
            )
    except IntegrityError:
        # Another process raised the same one between our look and our insert.
        return Alert.objects.get(open_key=key), False
    return created, True


def _count_up(
    alert: Alert, *, level: Severity | None, detail: str, context: dict[str, Any], now: datetime
) -> None:
    changes: dict[str, Any] = {
        "raised_count": F("raised_count") + 1,
        "last_raised_at": now,
        "detail": detail,
        "context": context,
    }
    if level is not None:
        changes |= {"severity": level, "notified_at": None}
    Alert.objects.filter(pk=alert.pk).update(**changes)
    alert.refresh_from_db()


def _rank(severity: str) -> int:
    return [Severity.INFO, Severity.WARNING, Severity.CRITICAL].index(Severity(severity))


def _make_key(name: str, subject: str) -> str:
    """Fixed length, so that any name and subject fit a unique index on every database."""
    return sha256(f"{name}\n{subject}".encode()).hexdigest()
