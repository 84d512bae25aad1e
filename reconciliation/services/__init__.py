"""Reconciliation's only writers: runs, and the life of the drifts that they find."""

from reconciliation.services.drifts import accept_drift, assign_drift
from reconciliation.services.runs import (
    PayerComparison,
    PeriodNotOver,
    close_killed_runs,
    compare_period,
    run_reconciliation,
)

__all__ = [
    "PayerComparison",
    "PeriodNotOver",
    "accept_drift",
    "assign_drift",
    "close_killed_runs",
    "compare_period",
    "run_reconciliation",
]
