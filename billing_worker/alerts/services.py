"""Raise and resolve alerts. Safe in a transaction: the row is written with it, Slack hears after the commit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
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

#: What is looked at daily is told once; what was silent longer than that has come back.
SILENCE = timedelta(hours=36)
#: Each time another process resolved or opened the same alert in between.
_TRIES = 5
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
    severity has risen, or after `SILENCE` without a call: then it is a new problem with an old name.
    `context` must be JSON-serializable and hold no secrets.
    """
    level = Severity(severity)
    ALERTS_RAISED.labels(name=name, severity=level.value).inc()
    getattr(log, _LEVELS[level])("alert_raised", alert=str(name), subject=subject, detail=detail)
    told: dict[str, Any] = {
        "subject": subject[:200],
        "detail": detail,
        "context": dict(context or {}),
        "now": now,
    }
    for _ in range(_TRIES):
        with transaction.atomic():
            found = _count_up(name=name, level=level, **told) or _open(name=name, level=level, **told)
        if found is not None:
            break
    else:
        raise RuntimeError(
            f"the alert {name} was raised and resolved {_TRIES} times while it was raised here"
        )
    alert, is_news = found
    if is_news:
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


def _count_up(
    *, name: str, subject: str, level: Severity, detail: str, context: dict[str, Any], now: datetime
) -> tuple[Alert, bool] | None:
    """The open alert, once more, and whether people are told again. None if there is none, or it was just resolved."""
    alert = Alert.objects.filter(open_key=_make_key(name, subject)).first()
    if alert is None:
        return None
    has_risen = _rank(level) > _rank(alert.severity)
    is_news = has_risen or now - alert.last_raised_at > SILENCE
    changes: dict[str, Any] = {
        "raised_count": F("raised_count") + 1,
        "last_raised_at": now,
        "detail": detail,
        "context": context,
    }
    if has_risen:
        changes["severity"] = level
    if is_news:
        changes["notified_at"] = None
    # Still open: what counts up on one that somebody resolved meanwhile would be heard by nobody.
    if not Alert.objects.filter(pk=alert.pk, status=AlertStatus.OPEN).update(**changes):
        return None
    alert.refresh_from_db()
    return alert, is_news


def _open(
    *, name: str, subject: str, level: Severity, detail: str, context: dict[str, Any], now: datetime
) -> tuple[Alert, bool] | None:
    """A new alert, of which people are told. None if another process opened the same one since we looked."""
    try:
        with transaction.atomic():
            created = Alert.objects.create(
                name=name,
                subject=subject,
                severity=level,
                detail=detail,
                context=context,
                open_key=_make_key(name, subject),
                first_raised_at=now,
                last_raised_at=now,
            )
    except IntegrityError:
        return None
    return created, True


def _rank(severity: str) -> int:
    return [Severity.INFO, Severity.WARNING, Severity.CRITICAL].index(Severity(severity))


def _make_key(name: str, subject: str) -> str:
    """Fixed length, so that any name and subject fit a unique index on every database."""
    return sha256(f"{name}\n{subject}".encode()).hexdigest()
