"""States of runs and drifts, and the causes that a drift can have."""

from __future__ import annotations

from typing import Final

from django.db.models import TextChoices


class RunState(TextChoices):
    RUNNING = "running", "Running"
    FINISHED = "finished", "Finished"
    FAILED = "failed", "Failed"


class DriftState(TextChoices):
    OPEN = "open", "Open"
    ACCEPTED = "accepted", "Accepted"  # a person explained it and takes it on
    RESOLVED = "resolved", "Resolved"  # a later run no longer finds it


#: From each state, where it may go. A resolved drift that returns is open again.
DRIFT_TRANSITIONS: Final[dict[DriftState, frozenset[DriftState]]] = {
    DriftState.OPEN: frozenset({DriftState.ACCEPTED, DriftState.RESOLVED}),
    DriftState.ACCEPTED: frozenset({DriftState.OPEN, DriftState.RESOLVED}),
    DriftState.RESOLVED: frozenset({DriftState.OPEN}),
}


class DriftCause(TextChoices):
    """Why the two ledgers differ, as far as the figures themselves can tell."""

    MISSING_IN_STRIPE = "missing_in_stripe", "Stripe billed nothing"
    MISSING_IN_LEGACY = "missing_in_legacy", "Legacy billed nothing"
    BILLED_TWICE = "billed_twice", "Billed by both sides"
    DUPLICATE_IN_LEGACY = "duplicate_in_legacy", "Legacy billed the period twice"
    CUSTOM_LINE = "custom_line", "Custom line that no plan explains"
    FLAT_FEE_DIFFERS = "flat_fee_differs", "Flat fee differs"
    QUANTITY_DIFFERS = "quantity_differs", "Usage was restated on one side"
    RATE_DIFFERS = "rate_differs", "Unit rate is not the plan's"
    ROUNDING = "rounding", "Same quantity and rate, other rounding"
    JOB_AMOUNT_DIFFERS = "job_amount_differs", "Managed job billed at another amount"
    JOB_MISSING_IN_STRIPE = "job_missing_in_stripe", "Managed job not billed by Stripe"
    JOB_MISSING_IN_LEGACY = "job_missing_in_legacy", "Managed job not billed by legacy"
    JOB_BILLED_AGAIN = "job_billed_again", "Managed job had been billed before"
    TAX_DIFFERS = "tax_differs", "Tax differs"
    LEDGER_INCOMPLETE = "ledger_incomplete", "A ledger is not whole"
    UNEXPLAINED = "unexplained", "Not explained by the figures"
