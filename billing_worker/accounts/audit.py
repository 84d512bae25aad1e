"""The audit trail's only writer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from billing_worker.accounts.models import AuditEntry


def record_audit(
    *,
    actor: str,
    action: str,
    subject_type: str,
    subject_id: object,
    at: datetime,
    reason: str = "",
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> AuditEntry:
    """Write one entry. Call it in the transaction that makes the change, so that neither stands alone."""
    return AuditEntry.objects.create(
        at=at,
        actor=actor,
        action=action,
        subject_type=subject_type,
        subject_id=str(subject_id),
        reason=reason,
        before=before or {},
        after=after or {},
    )
