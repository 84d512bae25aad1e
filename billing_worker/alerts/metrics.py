"""Every metric of the project, by name, so that a dashboard can be written from one page.

Web processes and workers keep their counters in files, and `/metrics` adds them up (`process_metrics.py`).
Gauges about the database are computed when asked for (`health.py`).
"""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

WEBHOOKS_RECEIVED = Counter(
    "billing_webhooks_received",
    "Webhook requests by event type and outcome (stored, duplicate, ignored).",
    ["type", "outcome"],
)
WEBHOOKS_REFUSED = Counter("billing_webhooks_refused", "Webhook requests refused, by reason.", ["reason"])
EVENTS_PROCESSED = Counter(
    "billing_events_processed",
    "Events processed by type and outcome (processed, retried, failed).",
    ["type", "outcome"],
)
EVENT_SECONDS = Histogram(
    "billing_event_seconds", "Seconds to process one event, mirror and receivers.", ["type"], buckets=_SECONDS
)
EVENTS_BACKFILLED = Counter(
    "billing_events_backfilled", "Events found at Stripe that no webhook had brought."
)
MIRROR_FAILURES = Counter("billing_mirror_failures", "Objects that could not be mirrored, by kind.", ["kind"])
KICKS_LOST = Counter(
    "billing_kicks_lost", "Tasks that the broker did not take; the sweepers find their rows.", ["task"]
)
ALERTS_RAISED = Counter("billing_alerts_raised", "Alerts raised, repetitions included.", ["name", "severity"])
ALERTS_UNDELIVERED = Counter("billing_alerts_undelivered", "Alerts that Slack did not take.")
METER_EVENTS = Counter(
    "billing_meter_events", "Meter events by usage type and state.", ["usage_type", "state"]
)
DOCUMENTS_RENDERED = Counter("billing_documents_rendered", "Invoice PDFs made, by outcome.", ["outcome"])
DOCUMENT_SECONDS = Histogram("billing_document_seconds", "Seconds to make one invoice PDF.", buckets=_SECONDS)
TRUE_UPS = Counter("billing_true_ups", "True-ups of late usage by the state that they reached.", ["state"])
MAILS = Counter("billing_mails", "Invoice mails by outcome.", ["outcome"])
DRIFTS = Counter("billing_drifts", "Differences found by reconciliation, by cause.", ["cause"])
