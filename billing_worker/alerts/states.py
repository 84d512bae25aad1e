"""What alerts can be."""

from __future__ import annotations

from django.db.models import TextChoices


class Severity(TextChoices):
    INFO = "info", "Info"
    WARNING = "warning", "Warning"
    CRITICAL = "critical", "Critical"


class AlertStatus(TextChoices):
    OPEN = "open", "Open"
    RESOLVED = "resolved", "Resolved"


class AlertName(TextChoices):
    """The events that people are told about. An app may raise others by plain name; these have a runbook entry."""

    WEBHOOK_EVENT_FAILED = "webhook_event_failed", "A Stripe event could not be processed"
    WEBHOOK_BACKLOG = "webhook_backlog", "Stripe events wait too long"
    WEBHOOK_GAP = "webhook_gap", "Stripe events were never delivered"
    MIRROR_FAILED = "mirror_failed", "The mirror of a Stripe object is behind"
    METER_EVENT_REJECTED = "meter_event_rejected", "Stripe refused a meter event"
    METER_EVENT_UNKNOWN = "meter_event_unknown", "The outcome of a meter event is unknown"
    METER_EVENT_EXPIRED = "meter_event_expired", "A meter event is too old to be sent"
    METER_TOTAL_DIFFERS = "meter_total_differs", "Stripe's meter holds another total than was sent"
    PDF_FAILED = "pdf_failed", "An invoice PDF could not be made"
    MAIL_FAILED = "mail_failed", "An invoice mail could not be delivered"
    DRIFT_FOUND = "drift_found", "The ledgers differ"
    RECONCILIATION_FAILED = "reconciliation_failed", "A reconciliation did not finish"
    COHORT_ROLLED_BACK = "cohort_rolled_back", "A cohort goes back to legacy"
    ROLLBACK_STEP_FAILED = "rollback_step_failed", "A payer could not be handed back"
    ROLLBACK_DELAYED = "rollback_delayed", "Stripe had begun the month: a payer goes back later"
    PROVISIONING_FAILED = "provisioning_failed", "An account could not be provisioned"
    PAYMENT_FAILED = "payment_failed", "A payment failed"
